"""gRPC: translates between messages and the segmenter, and decides nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from geminifusion_service.errors import GRPC_STATUS, ServiceError, public_error
from geminifusion_service.exchange import new_request_id
from geminifusion_service.operations.metrics import Metrics
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb import segmentation_pb2_grpc
from geminifusion_service.rpc.messages import error_message, model_message, request_from, response_message
from geminifusion_service.segmenter import Segmenter
from geminifusion_service.settings import Settings

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Segmentation"].full_name
_FRAMES_AHEAD = 4  # of one stream: enough to keep decoder, engine and encoder busy at once
_log = logging.getLogger(__name__)


class SegmentationServicer(segmentation_pb2_grpc.SegmentationServicer):
    """The RPCs of `geminifusion.v1.Segmentation`."""

    def __init__(self, segmenter: Segmenter, metrics: Metrics) -> None:
        self._segmenter = segmenter
        self._metrics = metrics

    async def Segment(self, request: pb.SegmentRequest, context: grpc.aio.ServicerContext) -> pb.SegmentResponse:
        """One pair in, one answer out."""
        try:
            return await self._segment(request, context.time_remaining())
        except ServiceError as error:
            trailer = [("code", error.code)]
            if error.retry_after_s is not None:
                trailer.append(("retry-after", str(error.retry_after_s)))
            status = grpc.StatusCode[GRPC_STATUS[type(error)]]
            await context.abort(status, f"{error.code}: {error}", tuple(trailer))
            raise AssertionError("abort raises") from error

    async def SegmentStream(
        self, request_iterator: AsyncIterator[pb.SegmentRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.SegmentStreamResponse]:
        """Answers in the order of the frames.

        A few frames are worked on at once, more wait in the transport.
        """
        frames: asyncio.Queue[asyncio.Task[pb.SegmentStreamResponse] | None] = asyncio.Queue(_FRAMES_AHEAD)

        async def read() -> None:
            async for request in request_iterator:
                task = asyncio.create_task(self._frame(request))
                try:
                    await frames.put(task)
                except asyncio.CancelledError:
                    task.cancel()
                    raise
            await frames.put(None)

        reader = asyncio.create_task(read())
        try:
            while (frame := await frames.get()) is not None:
                yield await frame
        finally:
            reader.cancel()
            while not frames.empty():
                left = frames.get_nowait()
                if left is not None:
                    left.cancel()

    async def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        """Every loaded model; the default first."""
        return pb.ListModelsResponse(models=[model_message(model) for model in self._segmenter.models])

    async def _frame(self, request: pb.SegmentRequest) -> pb.SegmentStreamResponse:
        try:
            response = await self._segment(request, None)
        except ServiceError as error:
            return pb.SegmentStreamResponse(request_id=request.request_id, error=error_message(error))
        return pb.SegmentStreamResponse(request_id=response.request_id, response=response)

    async def _segment(self, request: pb.SegmentRequest, time_left_s: float | None) -> pb.SegmentResponse:
        """Raises ServiceError and nothing else."""
        try:
            response = await self._segmenter.segment(request_from(request, time_left_s=time_left_s))
        except Exception as error:
            public = public_error(error)
            if public is not error:
                _log.exception("request %s failed", request.request_id or new_request_id())
            self._metrics.requests.labels("grpc", public.code).inc()
            raise public from error
        self._metrics.requests.labels("grpc", "ok").inc()
        return response_message(response)


class GrpcTransport:
    """The gRPC server with health and reflection.

    The port is bound at once, health is NOT_SERVING until told.
    """

    def __init__(self, segmenter: Segmenter, settings: Settings, metrics: Metrics) -> None:
        # Room for the fields around the images; never unlimited.
        limit = min(settings.max_body_bytes + 64 * 1024, 2**31 - 1)
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                # With it a second server would silently share the port.
                ("grpc.so_reuseport", 0),
            ]
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        segmentation_pb2_grpc.add_SegmentationServicer_to_server(  # type: ignore[no-untyped-call]
            SegmentationServicer(segmenter, metrics), self._server
        )
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the actual port.

        Raises:
            OSError: the address cannot be had.
        """
        await self.set_serving(False)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(str(error)) from None
        if not bound:
            raise OSError(f"cannot listen on {address}")
        await self._server.start()
        return int(bound)

    async def set_serving(self, serving: bool) -> None:
        """Set what health checks see."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE_NAME):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls and wait for the running ones."""
        await self._server.stop(grace_s)
