"""The client for an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack, overload

from .connection import Credentials, RetryPolicy, is_grpc
from .detection.calls import CalibrationInput, CloudInput, DetectCall, DetectionCallOptions, detect_call
from .detection.results import DetectionResult
from .errors import ServerBusyError, requires_extra
from .images import ImageInput
from .options import CallOptions, Frame, FrameOptions, SegmentCall, frame_call, segment_call, split_arguments
from .results import Result
from .streaming import FrameResponse, StreamMode, is_newest
from .translation.calls import TranslateCall, translate_call
from .translation.results import TranslationResult

_T = TypeVar("_T")


class AsyncClient:
    """`Client` for an event loop: the same methods, awaited."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: int = 2,
        api_key: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """See `Client`."""
        self._policy = RetryPolicy(retries=retries, timeout_s=timeout)
        self._sleep = sleep
        credentials = Credentials(api_key=api_key, ca=ca, certificate=certificate, key=key)
        self._transport = _transport(url, timeout, credentials)

    @overload
    async def segment(
        self, rgb: ImageInput | None = None, depth: ImageInput | None = None, **options: Unpack[CallOptions]
    ) -> Result: ...
    @overload
    async def segment(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        **others: Any,  # noqa: ANN401 - images of further modalities, and options
    ) -> Result: ...
    async def segment(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        **others: Any,
    ) -> Result:
        """See `Client.segment`; images are encoded and responses read in a thread."""
        images, options = split_arguments(rgb, depth, others)
        call = await asyncio.to_thread(segment_call, images, {"confidence": True, "gate": True, **options})
        return await self._with_retries(lambda: self._transport.segment(call))

    async def detect(
        self,
        rgb: ImageInput,
        points: CloudInput,
        calibration: CalibrationInput,
        **options: Unpack[DetectionCallOptions],
    ) -> DetectionResult:
        """See `Client.detect`."""
        call = await asyncio.to_thread(detect_call, rgb, points, calibration, options)
        return await self._with_retries(lambda: self._transport.detect(call))

    async def translate(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        **others: Any,  # noqa: ANN401 - see `Client.translate`
    ) -> TranslationResult:
        """See `Client.translate`."""
        call = await asyncio.to_thread(translate_call, {"rgb": rgb, "depth": depth, **others})
        return await self._with_retries(lambda: self._transport.translate(call))

    def stream(
        self, frames: AsyncIterable[Frame], *, mode: StreamMode = "ordered", **options: Unpack[FrameOptions]
    ) -> AsyncIterator[FrameResponse]:
        """See `Client.stream`; images are encoded and responses read in a thread."""
        newest = is_newest(mode)

        async def calls() -> AsyncIterator[SegmentCall]:
            async for frame in frames:
                yield await asyncio.to_thread(frame_call, frame, options)

        return self._transport.stream(calls(), newest=newest)

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        return await self._with_retries(self._transport.models)

    async def ready(self) -> bool:
        """See `Client.ready`."""
        return await self._transport.ready()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _with_retries(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        attempt = 0
        while True:
            try:
                return await ask()
            except ServerBusyError as busy:
                wait_s = self._policy.wait_s(attempt, busy.retry_after)
                if wait_s is None:
                    raise
            await self._sleep(wait_s)
            attempt += 1


class _AsyncTransport(Protocol):
    async def segment(self, call: SegmentCall) -> Result: ...
    async def detect(self, call: DetectCall) -> DetectionResult: ...
    async def translate(self, call: TranslateCall) -> TranslationResult: ...
    def stream(self, calls: AsyncIterator[SegmentCall], *, newest: bool) -> AsyncIterator[FrameResponse]: ...
    async def models(self) -> list[dict[str, Any]]: ...
    async def ready(self) -> bool: ...
    async def close(self) -> None: ...


def _transport(url: str, timeout_s: float, credentials: Credentials) -> _AsyncTransport:
    if is_grpc(url):
        with requires_extra("a grpc:// address", "client"):
            from .grpc_transport import AsyncGrpcTransport
        return AsyncGrpcTransport(url, timeout_s, credentials)
    from .http_transport import AsyncHttpTransport

    return AsyncHttpTransport(url, timeout_s, credentials)
