"""The gRPC server: its services, its limits, its life."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

from geminifusion_service.api.open_inference.inference import OpenInference
from geminifusion_service.api.open_inference.servicer import SERVICE_NAME as OPEN_INFERENCE_NAME
from geminifusion_service.api.open_inference.servicer import TRANSPORT as OPEN_INFERENCE_TRANSPORT
from geminifusion_service.api.open_inference.servicer import OpenInferenceServicer
from geminifusion_service.api.v1.servicer import SERVICE_NAME, STREAM_TRANSPORT, TRANSPORT, SegmentationServicer
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pb import open_inference_pb2_grpc, segmentation_pb2_grpc
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.streaming import Streams
from geminifusion_service.settings import Settings
from geminifusion_service.transport.grpc.call_admission import Admission
from geminifusion_service.transport.grpc.health import Health
from geminifusion_service.transport.grpc.reflection import add_reflection

__all__ = ["SERVICE_NAME", "GrpcTransport"]

_LARGEST = 2**31 - 1  # bytes of a protobuf message
_FIELDS = 64 * 1024  # room for what stands around the images
_MAP_BYTES = 2**20
_OTHER_CALLS = 64  # health, listings, reflection, beside those that are admitted
_UNARY = {f"/{SERVICE_NAME}/Segment": TRANSPORT, f"/{OPEN_INFERENCE_NAME}/ModelInfer": OPEN_INFERENCE_TRANSPORT}
_STREAMS = {
    f"/{SERVICE_NAME}/SegmentStream": STREAM_TRANSPORT,
    f"/{OPEN_INFERENCE_NAME}/ModelStreamInfer": OPEN_INFERENCE_TRANSPORT,
}


class GrpcTransport:
    """Segmentation, Open Inference, health and reflection on one port, bound at once; health tells when it is ready."""

    def __init__(
        self,
        segmenter: Segmenter,
        settings: Settings,
        metrics: Metrics,
        open_inference: OpenInference,
        streams: Streams,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        """Prepare the server; nothing is opened yet.

        Args:
            segmenter: answers.
            settings: limits.
            metrics: count refusals.
            open_inference: answers `inference.GRPCInferenceService`.
            streams: those open over every transport.
            interceptors: asked before admission, in this order.
        """
        admission = Admission(
            segmenter, streams, metrics, unary=_UNARY, streams=_STREAMS, body_timeout_s=settings.body_timeout_s
        )
        most_calls = 2 * settings.queue_size + settings.max_streams + _OTHER_CALLS
        self._server = grpc.aio.server(
            interceptors=[*interceptors, admission],
            options=channel_options(settings, most_calls),
            # For all, as grpc.aio does not obey what a single call asks for; calls switch it off where it does not pay.
            compression=grpc.Compression.Gzip,
            # Beyond what admission would ever let in; it guards the memory that waiting calls themselves take.
            maximum_concurrent_rpcs=most_calls,
        )
        health_pb2_grpc.add_HealthServicer_to_server(
            Health(segmenter, (SERVICE_NAME, OPEN_INFERENCE_NAME)), self._server
        )
        segmentation_pb2_grpc.add_SegmentationServicer_to_server(  # type: ignore[no-untyped-call]
            SegmentationServicer(segmenter, streams, metrics), self._server
        )
        open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(  # type: ignore[no-untyped-call]
            OpenInferenceServicer(open_inference, streams), self._server
        )
        add_reflection(self._server, (SERVICE_NAME, OPEN_INFERENCE_NAME, health.SERVICE_NAME))

    async def start(self, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen, with TLS where credentials are given; returns the actual port.

        Raises:
            OSError: the address cannot be had.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(str(error)) from None
        if not bound:
            raise OSError(f"cannot listen on {address}")
        await self._server.start()
        return int(bound)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls and wait for the running ones."""
        await self._server.stop(grace_s)


def channel_options(settings: Settings, most_calls: int) -> list[tuple[str, int]]:
    """How the server's connections behave.

    A message may be as long as a body over HTTP. An answer may be an overlay, which at worst is as large as its pixels,
    or run lengths and maps.
    """
    return [
        ("grpc.max_receive_message_length", min(settings.max_body_bytes + _FIELDS, _LARGEST)),
        ("grpc.max_send_message_length", min(4 * settings.max_pixels + _MAP_BYTES, _LARGEST)),
        # With it a second server would silently share the port.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", most_calls),
        # A ping a minute keeps NATs and load balancers from forgetting a quiet connection, and finds dead ones.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may do the same, not more than three times as often; those that do are disconnected.
        ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
        ("grpc.max_connection_idle_ms", 15 * 60_000),
    ]
