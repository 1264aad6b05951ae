"""The gRPC server: its services, its limits, start and stop."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from geminifusion_runtime.preparation import CLOUD_BYTES_PER_PIXEL, MAX_CLOUD_PIXELS
from geminifusion_service.api.open_inference.inference import OpenInference
from geminifusion_service.api.open_inference.servicer import SERVICE_NAME as OPEN_INFERENCE_NAME
from geminifusion_service.api.open_inference.servicer import TRANSPORT as OPEN_INFERENCE_TRANSPORT
from geminifusion_service.api.open_inference.servicer import OpenInferenceServicer
from geminifusion_service.api.v1.detection_servicer import DETECTION_SERVICE_NAME, DetectionServicer
from geminifusion_service.api.v1.grpc_call import TRANSPORT
from geminifusion_service.api.v1.servicer import SERVICE_NAME, STREAM_TRANSPORT, SegmentationServicer
from geminifusion_service.api.v1.translation_servicer import TRANSLATION_SERVICE_NAME, TranslationServicer
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pb import (
    detection_pb2,
    detection_pb2_grpc,
    open_inference_pb2,
    open_inference_pb2_grpc,
    segmentation_pb2,
    segmentation_pb2_grpc,
    translation_pb2,
    translation_pb2_grpc,
)
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.streaming import StreamManager
from geminifusion_service.settings import LimitSettings
from geminifusion_service.transport.grpc.call_admission import CallAdmission
from geminifusion_service.transport.grpc.health import Health
from geminifusion_service.transport.grpc.message_limits import MessageLimits
from geminifusion_service.transport.grpc.other_calls import OtherCalls
from geminifusion_service.transport.grpc.receiving import Receiving

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

_MESSAGE_LIMIT = "grpc.max_receive_message_length"
_MAX_MESSAGE_BYTES = 2**31 - 1  # of protobuf
_FIELDS_BYTES = 64 * 1024  # for everything in a request but its images
_MAPS_BYTES = 2**20  # for everything in a response but its mask
_OTHER_CALLS = 64  # health, listings, reflection, in addition to calls that need admission
_SERVICES = (SERVICE_NAME, TRANSLATION_SERVICE_NAME, DETECTION_SERVICE_NAME, OPEN_INFERENCE_NAME)
_UNARY = {
    f"/{SERVICE_NAME}/Segment": TRANSPORT,
    f"/{TRANSLATION_SERVICE_NAME}/Translate": TRANSPORT,
    f"/{DETECTION_SERVICE_NAME}/Detect": TRANSPORT,
    f"/{OPEN_INFERENCE_NAME}/ModelInfer": OPEN_INFERENCE_TRANSPORT,
}
_STREAMS = {
    f"/{SERVICE_NAME}/SegmentStream": STREAM_TRANSPORT,
    f"/{OPEN_INFERENCE_NAME}/ModelStreamInfer": OPEN_INFERENCE_TRANSPORT,
}
_MESSAGES = {
    f"/{service.full_name}/{method.name}": method.input_type
    for file in (
        segmentation_pb2.DESCRIPTOR,
        translation_pb2.DESCRIPTOR,
        detection_pb2.DESCRIPTOR,
        open_inference_pb2.DESCRIPTOR,
    )
    for service in file.services_by_name.values()
    for method in service.methods
}


class GrpcTransport:
    """The tasks, Open Inference, health and reflection on one port, bound at once; health tells when it is ready."""

    def __init__(
        self,
        segmenter: Segmenter,
        limits: LimitSettings,
        metrics: Metrics,
        open_inference: OpenInference,
        streams: StreamManager,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        *,
        handshake_timeout_s: float = 10.0,
        max_connections: int | None = None,
    ) -> None:
        """Prepare the server; nothing is opened yet.

        Args:
            segmenter: runs the requests.
            limits: on requests and streams.
            metrics: count the calls.
            open_inference: serves `inference.GRPCInferenceService`.
            streams: shared by every transport.
            interceptors: called before admission, in this order.
            handshake_timeout_s: longest time until a connection has finished TLS and HTTP/2's settings, and the small
                messages of calls that need no admission have arrived.
            max_connections: at once; `limits.max_grpc_connections` by default.
        """
        options = channel_options(
            limits,
            handshake_timeout_s=handshake_timeout_s,
            max_connections=max_connections or limits.max_grpc_connections,
        )
        self._receiving = Receiving(segmenter.budget, max_message_bytes=dict(options)[_MESSAGE_LIMIT])
        admission = CallAdmission(
            segmenter,
            streams,
            metrics,
            self._receiving,
            unary=_UNARY,
            streams=_STREAMS,
            body_timeout_s=limits.body_timeout_s,
            max_arriving=2 * limits.queue_size,
        )
        others = OtherCalls(
            self._receiving,
            admitted=(*_UNARY, *_STREAMS),
            max_open=limits.max_watches,
            max_others=_OTHER_CALLS,
            message_timeout_s=handshake_timeout_s,
        )
        counting = MessageLimits(_MESSAGES, max_values=limits.max_json_values)
        self._server = grpc.aio.server(
            interceptors=[*interceptors, others, admission, counting],
            options=options,
            # For all calls, as grpc.aio ignores that of a single call; calls disable it where it gains nothing.
            compression=grpc.Compression.Gzip,
            # More than all pools of calls hold together, each of which ends calls before this limit rejects any.
            maximum_concurrent_rpcs=_max_calls(limits),
        )
        health_pb2_grpc.add_HealthServicer_to_server(Health(segmenter, _SERVICES), self._server)
        segmentation_pb2_grpc.add_SegmentationServicer_to_server(  # type: ignore[no-untyped-call]
            SegmentationServicer(segmenter, streams, metrics), self._server
        )
        detection_pb2_grpc.add_DetectionServicer_to_server(  # type: ignore[no-untyped-call]
            DetectionServicer(segmenter, metrics), self._server
        )
        translation_pb2_grpc.add_TranslationServicer_to_server(  # type: ignore[no-untyped-call]
            TranslationServicer(segmenter, metrics), self._server
        )
        open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(  # type: ignore[no-untyped-call]
            OpenInferenceServicer(open_inference, streams), self._server
        )
        _add_reflection(self._server, (*_SERVICES, health.SERVICE_NAME))

    async def start(self, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen, with TLS where credentials are given; returns the actual port.

        Raises:
            OSError: the address is not available.
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
        self._receiving.listen_on(int(bound))
        return int(bound)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls and wait for the running ones."""
        await self._server.stop(grace_s)
        self._receiving.close()


def _max_calls(limits: LimitSettings) -> int:
    # On their way, in flight with the reserve, streams, others; and as many again on their way to being ended.
    return 2 * (4 * limits.queue_size + limits.max_streams + limits.max_watches + _OTHER_CALLS)


def _response_bytes(max_pixels: int) -> int:
    """Most bytes of a response: an overlay of the largest images, or the most points."""
    return max(4 * max_pixels, CLOUD_BYTES_PER_PIXEL * min(max_pixels, MAX_CLOUD_PIXELS)) + _MAPS_BYTES


def channel_options(
    limits: LimitSettings, *, handshake_timeout_s: float, max_connections: int
) -> list[tuple[str, int]]:
    """Options of the server's channels, by their gRPC names.

    A request may be as long as a body over HTTP. A response may be an overlay, which at worst is as large as its
    pixels, points, or run lengths and maps.
    """
    return [
        (_MESSAGE_LIMIT, min(limits.max_body_bytes + _FIELDS_BYTES, _MAX_MESSAGE_BYTES)),
        ("grpc.max_send_message_length", min(_response_bytes(limits.max_pixels), _MAX_MESSAGE_BYTES)),
        # Otherwise a second server would silently share the port.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", _max_calls(limits)),
        # Until a client has sent its settings, it may as well be one that sends nothing.
        ("grpc.server_handshake_timeout_ms", max(1, round(1000 * handshake_timeout_s))),
        ("grpc.max_allowed_incoming_connections", max_connections),
        # A ping per minute keeps NATs and load balancers from dropping an idle connection, and detects dead ones.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping up to three times as often; those that ping more are disconnected.
        ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
        ("grpc.max_connection_idle_ms", 15 * 60_000),
        # Seconds that a call may wait until the event loop takes it; gRPC cancels it then, without a word. A caller's
        # own deadline comes first.
        ("grpc.server_max_unrequested_time_in_server", 600),
    ]


def _add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Add reflection under v1alpha, which grpcio-reflection has, and under v1, which newer tools ask for.

    The messages of the two are the same on the wire.
    """
    names = (*services, reflection.SERVICE_NAME, REFLECTION_V1)
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(REFLECTION_V1, {"ServerReflectionInfo": handler}),)
    )
