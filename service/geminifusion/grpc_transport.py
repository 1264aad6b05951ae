"""gRPC, spoken with grpcio and the service's stubs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from geminifusion_service.errors import HTTP_STATUS
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb import segmentation_pb2_grpc as stubs

from .errors import AnswerTimeout, BadAnswer, ServerError, ServerUnreachable, answered_error
from .results import ClassShare, Result
from .rle import labels_from_runs
from .wire import SegmentCall, may_use_proxy, seconds

# Run lengths and half-precision maps of the largest picture a server takes stay well below; they do not stay
# below gRPC's default of 4 MiB.
_MAX_ANSWER_BYTES = 2**28
_HEALTH_SECONDS = 2.0
_STATUS_OF_CODE = {kind.code: int(status) for kind, status in HTTP_STATUS.items()}


class GrpcTransport:
    """One channel to one server."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._channel = grpc.insecure_channel(_target(url), _options(url))
        self._stub = stubs.SegmentationStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def segment(self, call: SegmentCall) -> Result:
        """Send a pair and read the answer."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            answer = self._stub.Segment(_request(call), timeout=self._timeout_s)
        return _result(answer, call.source)

    def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            answer = self._stub.ListModels(pb.ListModelsRequest(), timeout=self._timeout_s)
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

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._opened: grpc.aio.Channel | None = None

    async def segment(self, call: SegmentCall) -> Result:
        """Send a pair and read the answer."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            stub = stubs.SegmentationStub(self._channel())  # type: ignore[no-untyped-call]
            answer = await stub.Segment(_request(call), timeout=self._timeout_s)
        return await asyncio.to_thread(_result, answer, call.source)

    async def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            stub = stubs.SegmentationStub(self._channel())  # type: ignore[no-untyped-call]
            answer = await stub.ListModels(pb.ListModelsRequest(), timeout=self._timeout_s)
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
            self._opened = grpc.aio.insecure_channel(_target(self._url), _options(self._url))
        return self._opened


def _target(url: str) -> str:
    return urlsplit(url).netloc


def _options(url: str) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
        ("grpc.max_send_message_length", _MAX_ANSWER_BYTES),
        ("grpc.enable_http_proxy", int(may_use_proxy(url))),
    ]


def _request(call: SegmentCall) -> pb.SegmentRequest:
    return pb.SegmentRequest(
        images=call.images(),
        model=call.model or "",
        depth_scale=call.depth_scale,
        format=pb.MASK_FORMAT_RLE,
        confidence=call.confidence,
        gate=call.gate,
        deadline_ms=call.deadline_ms,
        request_id=call.request_id,
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
            )
            for share in answer.classes
        ),
        model=answer.model,
        confidence=_plane(answer.confidence) if answer.HasField("confidence") else None,
        gate=_plane(answer.gate) if answer.HasField("gate") else None,
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
