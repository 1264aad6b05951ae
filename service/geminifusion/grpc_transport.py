"""The gRPC interface, with grpcio and the service's stubs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from geminifusion_runtime.encoding.run_lengths import labels_from_runs
from geminifusion_runtime.printable import escape_controls, escape_in
from geminifusion_service.api.v1.grpc_options import SEGMENT_MESSAGES
from geminifusion_service.errors import ERRORS
from geminifusion_service.pb import detection_pb2_grpc as detection_stubs
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb import segmentation_pb2_grpc as stubs
from geminifusion_service.pb import translation_pb2_grpc as translation_stubs

from .connection import Credentials
from .detection.calls import DetectCall
from .detection.grpc_messages import detect_message, detection_from_message
from .detection.results import DetectionResult
from .errors import (
    ClientError,
    InvalidInputError,
    InvalidResponseError,
    ResponseTimeoutError,
    ServerError,
    ServerUnreachableError,
    error_of_status,
)
from .grpc_fields import sensors_of
from .options import SegmentCall
from .proxies import may_use_proxy, through_proxy, unreachable_advice
from .response_limits import MAX_RESPONSE_BYTES, check_size
from .results import ClassShare, ClassSpace, Result
from .streaming import FrameResponse, PendingFrames
from .translation.calls import TranslateCall
from .translation.grpc_messages import translate_message, translation_from_message
from .translation.results import TranslationResult
from .wire import NOT_OURS, byte, seconds
from .wrong_port import advice

_HEALTH_SECONDS = 2.0
_STATUS_OF_CODE = {code: int(kind.http_status) for code, kind in ERRORS.items()}


class GrpcTransport:
    """One channel to one server."""

    def __init__(self, url: str, timeout_s: float, credentials: Credentials) -> None:
        self._url, self._timeout_s, self._metadata = url, timeout_s, _metadata(credentials)
        if _is_secure(url):
            self._channel = grpc.secure_channel(_target(url), _channel_credentials(credentials), _options(url))
        else:
            self._channel = grpc.insecure_channel(_target(url), _options(url))
        self._stub = stubs.SegmentationStub(self._channel)  # type: ignore[no-untyped-call]
        self._translation = translation_stubs.TranslationStub(self._channel)  # type: ignore[no-untyped-call]
        self._detection = detection_stubs.DetectionStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def segment(self, call: SegmentCall) -> Result:
        """Send the images and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            response = self._stub.Segment(_request(call), timeout=self._timeout_s, metadata=self._metadata)
        return _result(response, call)

    def detect(self, call: DetectCall) -> DetectionResult:
        """Send the parts and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            response = self._detection.Detect(detect_message(call), timeout=self._timeout_s, metadata=self._metadata)
        return detection_from_message(response, call)

    def translate(self, call: TranslateCall) -> TranslationResult:
        """Send the images and read the response."""
        message = translate_message(call)
        with _client_errors(self._url, self._timeout_s, call.request_id):
            response = self._translation.Translate(message, timeout=self._timeout_s, metadata=self._metadata)
        return translation_from_message(response, call)

    def stream(self, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameResponse]:
        """Send frames as fast as they are accepted, and read the responses."""
        sent = _PendingMessages(newest=newest)
        with _client_errors(self._url, self._timeout_s):
            call = self._stub.SegmentStream(sent.requests(calls), metadata=self._metadata)
            try:
                for message in call:
                    yield sent.response(message)
            finally:
                call.cancel()
                sent.raise_failure()

    def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            response = self._stub.ListModels(pb.ListModelsRequest(), timeout=self._timeout_s, metadata=self._metadata)
        return _models(response)

    def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing responds."""
        try:
            response = self._health.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS)
        except grpc.RpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class AsyncGrpcTransport:
    """`GrpcTransport` for an event loop."""

    def __init__(self, url: str, timeout_s: float, credentials: Credentials) -> None:
        self._url, self._timeout_s, self._credentials = url, timeout_s, credentials
        self._metadata = _metadata(credentials)
        self._opened: grpc.aio.Channel | None = None

    async def segment(self, call: SegmentCall) -> Result:
        """Send the images and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            stub = stubs.SegmentationStub(self._channel())  # type: ignore[no-untyped-call]
            response = await stub.Segment(_request(call), timeout=self._timeout_s, metadata=self._metadata)
        return await asyncio.to_thread(_result, response, call)

    async def detect(self, call: DetectCall) -> DetectionResult:
        """Send the parts and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            stub = detection_stubs.DetectionStub(self._channel())  # type: ignore[no-untyped-call]
            response = await stub.Detect(detect_message(call), timeout=self._timeout_s, metadata=self._metadata)
        return await asyncio.to_thread(detection_from_message, response, call)

    async def translate(self, call: TranslateCall) -> TranslationResult:
        """Send the images and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            stub = translation_stubs.TranslationStub(self._channel())  # type: ignore[no-untyped-call]
            response = await stub.Translate(translate_message(call), timeout=self._timeout_s, metadata=self._metadata)
        return await asyncio.to_thread(translation_from_message, response, call)

    async def stream(self, calls: AsyncIterator[SegmentCall], *, newest: bool) -> AsyncIterator[FrameResponse]:
        """Send frames as fast as they are accepted, and read the responses."""
        sent = _PendingMessages(newest=newest)
        with _client_errors(self._url, self._timeout_s):
            stub = stubs.SegmentationStub(self._channel())  # type: ignore[no-untyped-call]
            call = stub.SegmentStream(sent.requests_async(calls), metadata=self._metadata)
            try:
                async for message in call:
                    yield await asyncio.to_thread(sent.response, message)
            finally:
                call.cancel()
                sent.raise_failure()

    async def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            stub = stubs.SegmentationStub(self._channel())  # type: ignore[no-untyped-call]
            response = await stub.ListModels(pb.ListModelsRequest(), timeout=self._timeout_s, metadata=self._metadata)
        return _models(response)

    async def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing responds."""
        health = health_pb2_grpc.HealthStub(self._channel())
        try:
            response = await health.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS)
        except grpc.RpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Close the channel."""
        if self._opened is not None:
            await self._opened.close()

    def _channel(self) -> grpc.aio.Channel:
        # A channel belongs to the loop that runs when it is made, so the first call makes it, not the client.
        if self._opened is None:
            target, options = _target(self._url), _options(self._url)
            if _is_secure(self._url):
                self._opened = grpc.aio.secure_channel(target, _channel_credentials(self._credentials), options)
            else:
                self._opened = grpc.aio.insecure_channel(target, options)
        return self._opened


class _PendingMessages(PendingFrames):
    """The frames of one stream as messages."""

    def __init__(self, *, newest: bool) -> None:
        super().__init__()
        self._newest = newest

    def requests(self, calls: Iterator[SegmentCall]) -> Iterator[pb.SegmentRequest]:
        """The messages to send. grpc iterates them in a thread of its own, where nobody would see an error."""
        try:
            for call in calls:
                self.add(call)
                yield _request(call, supersedable=self._newest)
        except Exception as error:
            self.failure = error

    async def requests_async(self, calls: AsyncIterator[SegmentCall]) -> AsyncIterator[pb.SegmentRequest]:
        """`requests` for an event loop."""
        try:
            async for call in calls:
                self.add(call)
                yield _request(call, supersedable=self._newest)
        except Exception as error:
            self.failure = error

    def response(self, message: pb.SegmentStreamResponse) -> FrameResponse:
        """The server's response to one of the frames."""
        call = self.pop(message.frame)
        if message.WhichOneof("result") == "response":
            return FrameResponse(number=message.frame, result=_result(message.response, call))
        error = message.error
        return FrameResponse(
            number=message.frame,
            error=error_of_status(
                error.message,
                code=error.code,
                status=error.http_status,
                request_id=call.request_id,
                retry_after=error.retry_after_s if error.HasField("retry_after_s") else None,
            ),
        )


def _is_secure(url: str) -> bool:
    return urlsplit(url).scheme == "grpcs"


def _channel_credentials(credentials: Credentials) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_bytes(credentials.ca),
        private_key=_bytes(credentials.key),
        certificate_chain=_bytes(credentials.certificate),
    )


def _bytes(path: str | Path | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"cannot read {path} ({error.strerror}); give a PEM file") from None


def _metadata(credentials: Credentials) -> tuple[tuple[str, str], ...]:
    return () if credentials.api_key is None else (("authorization", f"Bearer {credentials.api_key}"),)


def _target(url: str) -> str:
    return urlsplit(url).netloc


def _options(url: str) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
        ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
        ("grpc.enable_http_proxy", int(may_use_proxy(url))),
        # Finds a server that vanished without a word while a call is open; the server allows a ping every 20 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def _request(call: SegmentCall, *, supersedable: bool = False) -> pb.SegmentRequest:
    return pb.SegmentRequest(images=call.images, supersedable=supersedable, **SEGMENT_MESSAGES.fields(call.options))


def _models(response: pb.ListModelsResponse) -> list[dict[str, Any]]:
    try:
        return [dict(escape_in(json.loads(model.json))) for model in response.models]  # type: ignore[call-overload]
    except NOT_OURS:
        raise InvalidResponseError("the list of models is not one of geminifusion's; check the address") from None


def _result(response: pb.SegmentResponse, call: SegmentCall) -> Result:
    try:
        check_size(response.height, response.width, call.sources)
        return _checked_result(response, call)
    except NOT_OURS as error:
        raise InvalidResponseError(
            f"the response makes no sense ({error}); install client and server of one release"
        ) from error


def _checked_result(response: pb.SegmentResponse, call: SegmentCall) -> Result:
    return Result(
        labels=labels_from_runs({runs.class_id: runs.counts for runs in response.rle}, response.height, response.width),
        classes=tuple(
            ClassShare(
                id=byte(share.id),
                name=escape_controls(share.name),
                color=(byte(share.color.red), byte(share.color.green), byte(share.color.blue)),
                pixels=share.pixels,
                fraction=share.fraction,
                median_depth_m=share.median_depth_m if share.HasField("median_depth_m") else None,
                nearest_depth_m=share.nearest_depth_m if share.HasField("nearest_depth_m") else None,
                space=_space(share.space) if share.HasField("space") else None,
            )
            for share in response.classes
        ),
        model=escape_controls(response.model),
        confidence=_plane(response.confidence) if response.HasField("confidence") else None,
        gate=_plane(response.gate) if response.HasField("gate") else None,
        disagreement=_plane(response.disagreement) if response.HasField("disagreement") else None,
        # sorted, because a map of a message has no order
        modality_weights={name: _plane(response.modality_weights[name]) for name in sorted(response.modality_weights)},
        sensors=sensors_of(response.sensors),
        timings_ms={field.name: value for field, value in response.timings_ms.ListFields()},
        warnings=tuple(map(escape_controls, response.warnings)),
        request_id=escape_controls(response.request_id),
        batch_size=response.batch_size,
        sources=call.sources,
        posted=call.options,
    )


def _space(space: pb.ClassSpace) -> ClassSpace:
    (left, top, front), (right, bottom, back) = space.box_min_m, space.box_max_m
    return ClassSpace(
        points=space.points,
        nearest_m=space.nearest_m,
        box_min_m=(left, top, front),
        box_max_m=(right, bottom, back),
        area_m2=space.area_m2,
        volume_m3=space.volume_m3,
    )


def _plane(plane: pb.Plane) -> NDArray[np.float32]:
    return np.frombuffer(plane.float16, "<f2").reshape(plane.height, plane.width).astype(np.float32)


@contextmanager
def _client_errors(url: str, timeout_s: float, request_id: str | None = None) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise _client_error(error, url, timeout_s, request_id) from error


def _client_error(error: grpc.RpcError, url: str, timeout_s: float, request_id: str | None) -> ClientError:
    metadata = {key: str(value) for key, value in error.trailing_metadata() or ()}
    status, details = error.code(), error.details()
    if "code" in metadata:  # the service's own error; without it the status comes from gRPC itself
        code = metadata["code"]
        return error_of_status(
            details.removeprefix(f"{code}: "),
            code=code,
            status=_STATUS_OF_CODE.get(code, 500),
            request_id=request_id,
            retry_after=seconds(metadata.get("retry-after")),
        )
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return error_of_status(
            f"the images are more bytes than may be sent at once ({details}); send smaller ones, or start the server "
            "with a larger --max-body-bytes",
            code="body_too_large",
            status=413,
            request_id=request_id,
        )
    if status is grpc.StatusCode.UNAVAILABLE:
        hint = advice(details, url) or unreachable_advice(url)
        return ServerUnreachableError(
            f"nothing responds at {url}{through_proxy(url)} ({details}); {hint}", request_id=request_id
        )
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ResponseTimeoutError(
            f"{url} did not respond within {timeout_s:g} s; give a longer timeout, or ask at a quieter time",
            request_id=request_id,
        )
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return InvalidResponseError(f"{url} speaks gRPC but is no geminifusion server ({details}); check the address")
    return ServerError(f"the gRPC call to {url} failed with {status.name}: {details}", code=status.name.lower())
