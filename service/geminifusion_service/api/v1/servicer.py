"""`geminifusion.v1.Segmentation`: translates between messages and the segmenter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from geminifusion_runtime.errors import GeminiFusionError, InvalidOptionError
from geminifusion_service.api.v1.grpc_call import TRANSPORT, GrpcCalls
from geminifusion_service.api.v1.grpc_messages import (
    error_message,
    gains_from_gzip,
    model_message,
    request_from,
    response_message,
)
from geminifusion_service.errors import FrameSupersededError
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import set_client
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb import segmentation_pb2_grpc
from geminifusion_service.pipeline.admission import Ticket
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.streaming import StreamManager
from geminifusion_service.request import segment_response_of
from geminifusion_service.transport.grpc.call_admission import current_ticket, milliseconds_left
from geminifusion_service.transport.grpc.status import abort

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Segmentation"].full_name
STREAM_TRANSPORT = "grpc-stream"


class SegmentationServicer(segmentation_pb2_grpc.SegmentationServicer):
    """The calls of the service."""

    def __init__(self, segmenter: Segmenter, streams: StreamManager, metrics: Metrics) -> None:
        self._segmenter = segmenter
        self._streams = streams
        self._metrics = metrics
        self._calls = GrpcCalls(segmenter, metrics)

    async def Segment(self, request: pb.SegmentRequest, context: grpc.aio.ServicerContext) -> pb.SegmentResponse:
        """Segment one scene."""
        try:
            if request.supersedable:
                raise InvalidOptionError("supersedable is for the frames of SegmentStream; leave it out")
            response = await self._segment(request, milliseconds_left(context), TRANSPORT, current_ticket())
        except GeminiFusionError as error:
            await abort(context, error)
        if not gains_from_gzip(response):
            context.disable_next_message_compression()
        return response

    async def SegmentStream(
        self, request_iterator: AsyncIterator[pb.SegmentRequest], context: grpc.aio.ServicerContext
    ) -> None:
        """Segment frame after frame; see `Stream.responses`."""
        set_client(context.peer())
        try:
            with self._streams.open() as stream:
                responses = stream.responses(
                    request_iterator,
                    respond=self._frame,
                    supersedable=lambda request: request.supersedable,
                    superseded=self._superseded,
                )
                async with aclosing(responses):
                    async for response in responses:
                        context.disable_next_message_compression()  # a frame's delay counts for more than its bytes
                        await context.write(response)
        except GeminiFusionError as error:
            await abort(context, error)

    async def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        """Every loaded model; the default first."""
        return pb.ListModelsResponse(models=[model_message(model) for model in self._segmenter.models])

    async def _frame(self, number: int, request: pb.SegmentRequest) -> pb.SegmentStreamResponse:
        try:
            response = await self._segment(request, None, STREAM_TRANSPORT, None)
        except GeminiFusionError as error:
            return pb.SegmentStreamResponse(frame=number, request_id=request.request_id, error=error_message(error))
        return pb.SegmentStreamResponse(frame=number, request_id=response.request_id, response=response)

    def _superseded(self, number: int, request: pb.SegmentRequest) -> pb.SegmentStreamResponse:
        error = FrameSupersededError("a newer frame came before this one was begun")
        self._metrics.requests.labels(STREAM_TRANSPORT, error.code).inc()
        return pb.SegmentStreamResponse(frame=number, request_id=request.request_id, error=error_message(error))

    async def _segment(
        self, request: pb.SegmentRequest, milliseconds: float | None, transport: str, ticket: Ticket | None
    ) -> pb.SegmentResponse:
        """Raises GeminiFusionError and nothing else."""
        return await self._calls.respond(
            lambda: request_from(request, milliseconds_left=milliseconds),
            request.request_id,
            ticket,
            lambda response: response_message(segment_response_of(response)),
            transport=transport,
        )
