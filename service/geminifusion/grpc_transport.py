"""The gRPC interface, with grpcio and the service's stubs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from geminifusion_service.errors import ERRORS
from geminifusion_service.pb import segmentation_pb2 as pb

from .connection import Credentials
from .detection.calls import DetectCall
from .detection.grpc_messages import detect_message, detection_from_bytes
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
from .grpc_calls import Calls
from .grpc_messages import models_from_bytes, result_from_bytes, segment_message
from .grpc_streams import PendingMessages, responses, responses_async
from .options import SegmentCall
from .proxies import may_use_proxy, through_proxy, unreachable_advice
from .response_limits import MAX_RESPONSE_BYTES, too_large
from .results import Result
from .streaming import FrameResponse
from .translation.calls import TranslateCall
from .translation.grpc_messages import translate_message, translation_from_bytes
from .translation.results import TranslationResult
from .wire import seconds
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
        self._calls = Calls(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def segment(self, call: SegmentCall) -> Result:
        """Send the images and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            data = self._calls.segment(segment_message(call), timeout=self._timeout_s, metadata=self._metadata)
        return result_from_bytes(data, call)

    def detect(self, call: DetectCall) -> DetectionResult:
        """Send the parts and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            data = self._calls.detect(detect_message(call), timeout=self._timeout_s, metadata=self._metadata)
        return detection_from_bytes(data, call)

    def translate(self, call: TranslateCall) -> TranslationResult:
        """Send the images and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            data = self._calls.translate(translate_message(call), timeout=self._timeout_s, metadata=self._metadata)
        return translation_from_bytes(data, call)

    def stream(self, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameResponse]:
        """Send frames as fast as they are accepted, and read the responses."""
        sent = PendingMessages(newest=newest)
        with _client_errors(self._url, self._timeout_s):
            call = self._calls.segment_stream(sent.requests(calls), metadata=self._metadata)
            yield from responses(call, sent, self._url, self._timeout_s)

    def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            data = self._calls.list_models(pb.ListModelsRequest(), timeout=self._timeout_s, metadata=self._metadata)
        return models_from_bytes(data)

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
            data = await self._calls().segment(segment_message(call), timeout=self._timeout_s, metadata=self._metadata)
        return await asyncio.to_thread(result_from_bytes, data, call)

    async def detect(self, call: DetectCall) -> DetectionResult:
        """Send the parts and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            data = await self._calls().detect(detect_message(call), timeout=self._timeout_s, metadata=self._metadata)
        return await asyncio.to_thread(detection_from_bytes, data, call)

    async def translate(self, call: TranslateCall) -> TranslationResult:
        """Send the images and read the response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            data = await self._calls().translate(
                translate_message(call), timeout=self._timeout_s, metadata=self._metadata
            )
        return await asyncio.to_thread(translation_from_bytes, data, call)

    async def stream(self, calls: AsyncIterator[SegmentCall], *, newest: bool) -> AsyncIterator[FrameResponse]:
        """Send frames as fast as they are accepted, and read the responses."""
        sent = PendingMessages(newest=newest)
        with _client_errors(self._url, self._timeout_s):
            call = self._calls().segment_stream(sent.requests_async(calls), metadata=self._metadata)
            async with aclosing(responses_async(call, sent, self._url, self._timeout_s)) as answered:
                async for response in answered:
                    yield response

    async def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            data = await self._calls().list_models(
                pb.ListModelsRequest(), timeout=self._timeout_s, metadata=self._metadata
            )
        return models_from_bytes(data)

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

    def _calls(self) -> Calls:
        return Calls(self._channel())

    def _channel(self) -> grpc.aio.Channel:
        # A channel belongs to the loop that runs when it is made, so the first call makes it, not the client.
        if self._opened is None:
            target, options = _target(self._url), _options(self._url)
            if _is_secure(self._url):
                self._opened = grpc.aio.secure_channel(target, _channel_credentials(self._credentials), options)
            else:
                self._opened = grpc.aio.insecure_channel(target, options)
        return self._opened


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
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "CLIENT: Received message larger than max" in details:
        return too_large(MAX_RESPONSE_BYTES)
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
