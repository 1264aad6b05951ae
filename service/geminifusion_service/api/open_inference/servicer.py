"""The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from geminifusion_runtime.errors import GeminiFusionError, InvalidOptionError
from geminifusion_service.api.open_inference.grpc_messages import request_from, response_message
from geminifusion_service.api.open_inference.inference import OpenInference
from geminifusion_service.errors import ModelNotFoundError
from geminifusion_service.observability.request_context import new_request_id, set_client
from geminifusion_service.pb import open_inference_pb2 as pb
from geminifusion_service.pb import open_inference_pb2_grpc
from geminifusion_service.pipeline.admission import Ticket
from geminifusion_service.pipeline.streaming import StreamManager
from geminifusion_service.transport.grpc.call_admission import current_ticket, milliseconds_left
from geminifusion_service.transport.grpc.status import abort, details_of

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
TRANSPORT = "oip-grpc"
_LARGE = 64 * 1024  # typed values, beyond which converting them would keep the event loop from others
_ASKS_FOR_FINAL = "triton_enable_empty_final_response"
_IS_FINAL = "triton_final_response"
_UNLOAD_DEPENDENTS = "unload_dependents"  # Triton's clients always send it; there are no dependents here


class OpenInferenceServicer(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """The calls of the protocol, translated for `OpenInference`."""

    def __init__(self, open_inference: OpenInference, streams: StreamManager) -> None:
        self._open_inference = open_inference
        self._streams = streams

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerLiveResponse:
        """Whether the process works; only a restart helps where it does not."""
        return pb.ServerLiveResponse(live=self._open_inference.live)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerReadyResponse:
        """Whether the server accepts requests."""
        return pb.ServerReadyResponse(ready=self._open_inference.ready)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelReadyResponse:
        """Whether this model accepts requests; False for an unknown one."""
        try:
            ready = self._open_inference.model_ready(request.name, request.version or None)
        except ModelNotFoundError:
            ready = False
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerMetadataResponse:
        """Name and version of the server, and the extensions of the protocol it supports."""
        return pb.ServerMetadataResponse(**self._open_inference.server_metadata())

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """Names, datatypes and shapes of the tensors."""
        try:
            document = self._open_inference.model_metadata(request.name, request.version or None)
        except GeminiFusionError as error:
            await abort(context, error)
        return pb.ModelMetadataResponse(**document)

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelConfigResponse:
        """The same as Triton's model configuration."""
        try:
            document = self._open_inference.model_config(request.name, request.version or None)
        except GeminiFusionError as error:
            await abort(context, error)
        return pb.ModelConfigResponse(config=pb.ModelConfig(**document))

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelStatisticsResponse:
        """Totals of one model or of all since the server started."""
        try:
            document = self._open_inference.model_statistics(request.name or None, request.version or None)
        except GeminiFusionError as error:
            await abort(context, error)
        return pb.ModelStatisticsResponse(**document)

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelInferResponse:
        """Segment a batch of images."""
        try:
            context.disable_next_message_compression()  # on raw tensors gzip would cost more than the bytes it saves
            return await self._infer(request, milliseconds_left(context), current_ticket())
        except GeminiFusionError as error:
            await abort(context, error)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: grpc.aio.ServicerContext
    ) -> None:
        """Segment batch after batch, with responses in the order of the requests; see `Stream.responses`."""
        set_client(context.peer())
        try:
            with self._streams.open() as stream:
                responses = stream.responses(
                    request_iterator,
                    respond=self._frame,
                    supersedable=lambda _: False,  # the protocol has no field for it
                    superseded=_never_superseded,
                )
                async with aclosing(responses):
                    async for response in responses:
                        context.disable_next_message_compression()
                        await context.write(response)
        except GeminiFusionError as error:
            await abort(context, error)

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: grpc.aio.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        """Every version of every model this server knows of."""
        listed = await self._open_inference.index(ready_only=request.ready)
        return pb.RepositoryIndexResponse(models=[pb.RepositoryIndexResponse.ModelIndex(**entry) for entry in listed])

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: grpc.aio.ServicerContext
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model of the repository, or load it again."""
        try:
            if request.parameters:
                raise InvalidOptionError("a model is loaded as the repository has it; send no parameters")
            await self._open_inference.load(request.model_name)
        except GeminiFusionError as error:
            await abort(context, error)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: grpc.aio.ServicerContext
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model once its requests are finished."""
        try:
            if set(request.parameters) - {_UNLOAD_DEPENDENTS}:
                raise InvalidOptionError(f"unloading takes no parameters but {_UNLOAD_DEPENDENTS}")
            await self._open_inference.unload(request.model_name)
        except GeminiFusionError as error:
            await abort(context, error)
        return pb.RepositoryModelUnloadResponse()

    async def _frame(self, _number: int, message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        try:
            streamed = pb.ModelStreamInferResponse(infer_response=await self._infer(message, None, None))
        except GeminiFusionError as error:
            # The response names the request, or a client with several in flight could not tell which one failed.
            response = pb.ModelInferResponse(
                model_name=message.model_name, model_version=message.model_version, id=message.id
            )
            streamed = pb.ModelStreamInferResponse(error_message=details_of(error), infer_response=response)
        if _ASKS_FOR_FINAL in message.parameters:
            streamed.infer_response.parameters[_IS_FINAL].bool_param = True
        return streamed

    async def _infer(
        self, message: pb.ModelInferRequest, milliseconds: float | None, ticket: Ticket | None
    ) -> pb.ModelInferResponse:
        """Raises GeminiFusionError and nothing else."""
        request_id = new_request_id()
        with self._open_inference.counted(TRANSPORT, request_id):
            raw = bool(message.raw_input_contents)
            small = raw or message.ByteSize() <= _LARGE
            request = request_from(message) if small else await asyncio.to_thread(request_from, message)
            response = await self._open_inference.infer(
                request, request_id=request_id, milliseconds_left=milliseconds, ticket=ticket
            )
            if raw:
                return response_message(response, raw=True)
            return await asyncio.to_thread(response_message, response, raw=False)


def _never_superseded(_number: int, _message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
    raise AssertionError("no request of this protocol is superseded")
