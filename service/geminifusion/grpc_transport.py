"""gRPC, spoken with grpcio and the service's stubs."""

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
from geminifusion_runtime.types import SensorHealth
from geminifusion_service.errors import ERRORS
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb import segmentation_pb2_grpc as stubs

from .access import Access
from .errors import AnswerTimeout, BadAnswer, BadInput, ServerError, ServerUnreachable, answered_error
from .results import ClassShare, Result
from .streaming import FrameAnswer, SentFrames
from .wire import SegmentCall, may_use_proxy, seconds

# Run lengths and half-precision maps of the largest picture a server takes stay well below; they do not stay
# below gRPC's default of 4 MiB.
_MAX_ANSWER_BYTES = 2**28
_HEALTH_SECONDS = 2.0
_STATUS_OF_CODE = {code: int(kind.http_status) for code, kind in ERRORS.items()}


class GrpcTransport:
    """One channel to one server."""

    def __init__(self, url: str, timeout_s: float, access: Access) -> None:
        self._url, self._timeout_s, self._metadata = url, timeout_s, _metadata(access)
        if _is_secure(url):
            self._channel = grpc.secure_channel(_target(url), _credentials(access), _options(url))
        else:
            self._channel = grpc.insecure_channel(_target(url), _options(url))
        self._stub = stubs.SegmentationStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def segment(self, call: SegmentCall) -> Result:
        """Send a pair and read the answer."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            answer = self._stub.Segment(_request(call), timeout=self._timeout_s, metadata=self._metadata)
        return _result(answer, call.source)

    def stream(self, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameAnswer]:
        """Send frames as fast as they are taken and read their answers."""
        sent = _SentFrames(newest=newest)
        with _client_errors(self._url, self._timeout_s):
            call = self._stub.SegmentStream(sent.requests(calls), metadata=self._metadata)
            try:
                for answer in call:
                    yield sent.answer(answer)
            finally:
                call.cancel()
                sent.raise_failure()

    def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            answer = self._stub.ListModels(pb.ListModelsRequest(), timeout=self._timeout_s, metadata=self._metadata)
        return [json.loads(model.json) for model in answer.models]

    def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing answers."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class AsyncGrpcTransport:
    """`GrpcTransport` for an event loop."""

    def __init__(self, url: str, timeout_s: float, access: Access) -> None:
        self._url, self._timeout_s, self._access = url, timeout_s, access
        self._metadata = _metadata(access)
        self._opened: grpc.aio.Channel | None = None

    async def segment(self, call: SegmentCall) -> Result:
        """Send a pair and read the answer."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            stub = stubs.SegmentationStub(self._channel())  # type: ignore[no-untyped-call]
            answer = await stub.Segment(_request(call), timeout=self._timeout_s, metadata=self._metadata)
        return await asyncio.to_thread(_result, answer, call.source)

    async def stream(self, calls: AsyncIterator[SegmentCall], *, newest: bool) -> AsyncIterator[FrameAnswer]:
        """Send frames as fast as they are taken and read their answers."""
        sent = _SentFrames(newest=newest)
        with _client_errors(self._url, self._timeout_s):
            stub = stubs.SegmentationStub(self._channel())  # type: ignore[no-untyped-call]
            call = stub.SegmentStream(sent.requests_async(calls), metadata=self._metadata)
            try:
                async for answer in call:
                    yield await asyncio.to_thread(sent.answer, answer)
            finally:
                call.cancel()
                sent.raise_failure()

    async def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            stub = stubs.SegmentationStub(self._channel())  # type: ignore[no-untyped-call]
            answer = await stub.ListModels(pb.ListModelsRequest(), timeout=self._timeout_s, metadata=self._metadata)
        return [json.loads(model.json) for model in answer.models]

    async def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing answers."""
        health = health_pb2_grpc.HealthStub(self._channel())
        try:
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Close the channel."""
        if self._opened is not None:
            await self._opened.close()

    def _channel(self) -> grpc.aio.Channel:
        # A channel belongs to the loop that runs when it is made, so the first call makes it, not the client.
        if self._opened is None:
            target, options = _target(self._url), _options(self._url)
            if _is_secure(self._url):
                self._opened = grpc.aio.secure_channel(target, _credentials(self._access), options)
            else:
                self._opened = grpc.aio.insecure_channel(target, options)
        return self._opened


class _SentFrames(SentFrames):
    """As messages."""

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

    def answer(self, message: pb.SegmentStreamResponse) -> FrameAnswer:
        """What the server says of one of the frames."""
        call = self.pop(message.frame)
        if message.WhichOneof("result") == "response":
            return FrameAnswer(number=message.frame, result=_result(message.response, call.source))
        error = message.error
        return FrameAnswer(
            number=message.frame,
            error=answered_error(
                error.message,
                code=error.code,
                status=error.http_status,
                request_id=call.request_id,
                retry_after=error.retry_after_s if error.HasField("retry_after_s") else None,
            ),
        )


def _is_secure(url: str) -> bool:
    return urlsplit(url).scheme == "grpcs"


def _credentials(access: Access) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_bytes(access.ca),
        private_key=_bytes(access.key),
        certificate_chain=_bytes(access.certificate),
    )


def _bytes(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path} ({error.strerror}); give a PEM file") from None


def _metadata(access: Access) -> tuple[tuple[str, str], ...]:
    return () if access.api_key is None else (("authorization", f"Bearer {access.api_key}"),)


def _target(url: str) -> str:
    return urlsplit(url).netloc


def _options(url: str) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
        ("grpc.max_send_message_length", _MAX_ANSWER_BYTES),
        ("grpc.enable_http_proxy", int(may_use_proxy(url))),
        # Finds a server that vanished without a word while a call is open; the server allows a ping every 20 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


_ALIGNS = {"none": pb.ALIGN_NONE, "resize": pb.ALIGN_RESIZE}
_PRIORITIES = {"normal": pb.PRIORITY_NORMAL, "high": pb.PRIORITY_HIGH}
_SENSOR_POLICIES = {
    None: pb.SENSOR_POLICY_UNSPECIFIED,
    "reject": pb.SENSOR_POLICY_REJECT,
    "warn": pb.SENSOR_POLICY_WARN,
    "drop-modality": pb.SENSOR_POLICY_DROP_MODALITY,
}


def _request(call: SegmentCall, *, supersedable: bool = False) -> pb.SegmentRequest:
    return pb.SegmentRequest(
        images=call.images(),
        model=call.model or "",
        depth_scale=call.depth_scale,
        depth_invalid=call.depth_invalid,
        format=pb.MASK_FORMAT_RLE,
        confidence=call.confidence,
        gate=call.gate,
        disagreement=call.disagreement,
        align=_ALIGNS[call.align],
        sensor_policy=_SENSOR_POLICIES[call.sensor_policy],
        priority=_PRIORITIES[call.priority],
        deadline_ms=call.deadline_ms,
        request_id=call.request_id,
        supersedable=supersedable,
    )


def _result(answer: pb.SegmentResponse, source: bytes | NDArray[np.uint8]) -> Result:
    try:
        labels = labels_from_runs({runs.class_id: runs.counts for runs in answer.rle}, answer.height, answer.width)
    except ValueError as error:
        raise BadAnswer(f"the answer makes no sense ({error}); install client and server of one release") from error
    return Result(
        labels=labels,
        classes=tuple(
            ClassShare(
                id=share.id,
                name=share.name,
                color=(share.color.red, share.color.green, share.color.blue),
                pixels=share.pixels,
                fraction=share.fraction,
                median_depth_m=share.median_depth_m if share.HasField("median_depth_m") else None,
                nearest_depth_m=share.nearest_depth_m if share.HasField("nearest_depth_m") else None,
            )
            for share in answer.classes
        ),
        model=answer.model,
        confidence=_plane(answer.confidence) if answer.HasField("confidence") else None,
        gate=_plane(answer.gate) if answer.HasField("gate") else None,
        disagreement=_plane(answer.disagreement) if answer.HasField("disagreement") else None,
        sensors={
            name: SensorHealth(
                holes=one.holes,
                saturated=one.saturated,
                noise=one.noise,
                problem=one.problem if one.HasField("problem") else None,
            )
            for name, one in answer.sensors.items()
        },
        timings_ms={field.name: value for field, value in answer.timings_ms.ListFields()},
        warnings=tuple(answer.warnings),
        request_id=answer.request_id,
        batch_size=answer.batch_size,
        source=source,
    )


def _plane(plane: pb.Plane) -> NDArray[np.float32]:
    return np.frombuffer(plane.float16, "<f2").reshape(plane.height, plane.width).astype(np.float32)


@contextmanager
def _client_errors(url: str, timeout_s: float, request_id: str | None = None) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise _client_error(error, url, timeout_s, request_id) from error


def _client_error(
    error: grpc.RpcError, url: str, timeout_s: float, request_id: str | None
) -> ServerError | ServerUnreachable | AnswerTimeout | BadAnswer:
    metadata = {key: str(value) for key, value in error.trailing_metadata() or ()}
    status, details = error.code(), error.details()
    if "code" in metadata:  # the service's own error; without it the answer comes from gRPC itself
        code = metadata["code"]
        return answered_error(
            details.removeprefix(f"{code}: "),
            code=code,
            status=_STATUS_OF_CODE.get(code, 500),
            request_id=request_id,
            retry_after=seconds(metadata.get("retry-after")),
        )
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return answered_error(
            f"the pictures are more bytes than may be sent at once ({details}); send smaller ones, or start the server "
            "with a larger --max-body-bytes",
            code="body_too_large",
            status=413,
            request_id=request_id,
        )
    if status is grpc.StatusCode.UNAVAILABLE:
        return ServerUnreachable(
            f"nothing answers at {url} ({details}); start it with `geminifusion serve`, or check the address",
            request_id=request_id,
        )
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return AnswerTimeout(
            f"{url} did not answer within {timeout_s:g} s; give a longer timeout, or ask at a quieter time",
            request_id=request_id,
        )
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return BadAnswer(f"{url} speaks gRPC but is no geminifusion server ({details}); check the address")
    return ServerError(f"the gRPC call to {url} failed with {status.name}: {details}", code=status.name.lower())
