"""A client of the service, over HTTP or gRPC by the scheme of the address."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np

from geminifusion_runtime.types import Align, Priority, SensorPolicy

from .access import Access
from .errors import BadInput, ServerBusy, needing_client_extra
from .images import Picture, depth_bytes, markers_of, rgb_bytes
from .results import Result
from .streaming import FrameAnswer, StreamMode, is_newest
from .wire import RetryPolicy, SegmentCall

_Answer = TypeVar("_Answer")
Frame = Picture | tuple[Picture, Picture]
"""The rgb alone, or rgb and depth."""


class Client:
    """Ask a running service for masks.

    ```python
    with Client("http://localhost:8000") as client:
        result = client.segment("rgb.jpg", "depth.png")
    ```

    Safe to share between threads.
    """

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
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: `http://host:port`, `https://…`, `grpc://host:port` or `grpcs://…`.
            timeout: seconds to wait for one answer.
            retries: how often a request refused by a busy server is sent again, after the time it advises; a
                wait longer than `timeout` is not taken.
            api_key: for a server that asks for one.
            ca: PEM file of whom to trust for `https` and `grpcs`, instead of the authorities this machine trusts.
            certificate, key: PEM files of the client's own, for a server that asks for them.
            sleep: how to wait.

        Raises:
            BadInput: the address or an option makes no sense.
        """
        self._policy = _policy(timeout, retries)
        self._sleep = sleep
        self._transport = _transport(url, timeout, _access(api_key, ca, certificate, key))

    def segment(
        self,
        rgb: Picture,
        depth: Picture | None = None,
        *,
        depth_scale: float | None = None,
        depth_invalid: float | Sequence[float] = (),
        model: str | None = None,
        confidence: bool = True,
        gate: bool = True,
        disagreement: bool = False,
        align: Align = "none",
        sensor_policy: SensorPolicy | None = None,
        priority: Priority = "normal",
        deadline_ms: float | None = None,
        request_id: str | None = None,
    ) -> Result:
        """Segment one RGB-D pair.

        Args:
            rgb: path or bytes of a PNG, JPEG or WebP, or an `H W 3` uint8 array.
            depth: path or bytes of a 16-bit PNG, TIFF or npy, or an array: `H W` floats are metres, `H W`
                uint16 counts units of `depth_scale`. 0, NaN and negative mean "no measurement". To be left out if the
                model sees the RGB alone, and may be if it says that its depth may be absent.
            depth_scale: metres per unit of integer depth; the service takes 0.001 for 16-bit pictures.
            depth_invalid: stored values, before scaling, that mean "no measurement" too, such as 65535; at most eight.
            model: `name` or `name@version`; the server's default when left out.
            confidence, gate: whether to fetch these maps.
            disagreement: whether to fetch the map of where the answer leans on the other modalities; the pair runs
                twice.
            align: `resize` lets the server bring depth of another size to that of rgb; otherwise it refuses it.
            sensor_policy: what to do about a broken sensor: `reject`, `warn` or `drop-modality`; the server's setting
                when left out.
            priority: `high` goes before `normal`.
            deadline_ms: give up when the mask is not ready by then.
            request_id: a name of your own for this request in the server's log; made up when left out.

        Raises:
            ClientError: see `geminifusion.errors`.
        """
        call = _call(
            rgb,
            depth,
            depth_scale=depth_scale,
            depth_invalid=depth_invalid,
            model=model,
            confidence=confidence,
            gate=gate,
            disagreement=disagreement,
            align=align,
            sensor_policy=sensor_policy,
            priority=priority,
            deadline_ms=deadline_ms,
            request_id=request_id,
        )
        return self._patiently(lambda: self._transport.segment(call))

    def stream(
        self,
        frames: Iterable[Frame],
        *,
        mode: StreamMode = "ordered",
        depth_scale: float | None = None,
        depth_invalid: float | Sequence[float] = (),
        model: str | None = None,
        confidence: bool = False,
        gate: bool = False,
    ) -> Iterator[FrameAnswer]:
        """Segment frame after frame over one stream: of gRPC, or over `http://` a WebSocket.

        ```python
        for answer in client.stream(camera, mode="newest"):
            if answer.result is not None:
                show(answer.result)
        ```

        Frames are taken, in another thread, as fast as the server takes them, and it stops taking them while nobody
        asks for answers. Nothing is sent twice: where a stream breaks, the frames without an answer are the caller's.

        Args:
            frames: pictures, or tuples of rgb and depth; each as `segment` takes it.
            mode: `ordered` answers every frame, in their order. `newest` is for cameras: a frame the engine has not
                begun gives way to the next one and is answered at once as `superseded`, so that the delay stays that of
                a frame or two; the others are answered in their order.
            depth_scale, depth_invalid, model, confidence, gate: as for `segment`, of all frames.

        Raises:
            ClientError: the stream cannot be opened or breaks. An error of a single frame is in its answer.
        """
        newest = is_newest(mode)
        calls = (_frame_call(frame, depth_scale, depth_invalid, model, confidence, gate) for frame in frames)
        return self._transport.stream(calls, newest=newest)

    def models(self) -> list[dict[str, Any]]:
        """The models served, each as the server describes it (`name`, `version`, `classes`, …)."""
        return self._patiently(self._transport.models)

    def ready(self) -> bool:
        """Whether the server is up, its models verified and warm."""
        return self._transport.ready()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        attempt = 0
        while True:
            try:
                return ask()
            except ServerBusy as busy:
                wait_s = self._policy.wait_s(attempt, busy.retry_after)
                if wait_s is None:
                    raise
            self._sleep(wait_s)
            attempt += 1


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
        self._policy = _policy(timeout, retries)
        self._sleep = sleep
        self._transport = _async_transport(url, timeout, _access(api_key, ca, certificate, key))

    async def segment(
        self,
        rgb: Picture,
        depth: Picture | None = None,
        *,
        depth_scale: float | None = None,
        depth_invalid: float | Sequence[float] = (),
        model: str | None = None,
        confidence: bool = True,
        gate: bool = True,
        disagreement: bool = False,
        align: Align = "none",
        sensor_policy: SensorPolicy | None = None,
        priority: Priority = "normal",
        deadline_ms: float | None = None,
        request_id: str | None = None,
    ) -> Result:
        """See `Client.segment`; pictures and answers are read in a thread."""
        call = await asyncio.to_thread(
            _call,
            rgb,
            depth,
            depth_scale=depth_scale,
            depth_invalid=depth_invalid,
            model=model,
            confidence=confidence,
            gate=gate,
            disagreement=disagreement,
            align=align,
            sensor_policy=sensor_policy,
            priority=priority,
            deadline_ms=deadline_ms,
            request_id=request_id,
        )
        return await self._patiently(lambda: self._transport.segment(call))

    def stream(
        self,
        frames: AsyncIterable[Frame],
        *,
        mode: StreamMode = "ordered",
        depth_scale: float | None = None,
        depth_invalid: float | Sequence[float] = (),
        model: str | None = None,
        confidence: bool = False,
        gate: bool = False,
    ) -> AsyncIterator[FrameAnswer]:
        """See `Client.stream`; pictures and answers are read in a thread."""
        newest = is_newest(mode)

        async def calls() -> AsyncIterator[SegmentCall]:
            async for frame in frames:
                yield await asyncio.to_thread(_frame_call, frame, depth_scale, depth_invalid, model, confidence, gate)

        return self._transport.stream(calls(), newest=newest)

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        return await self._patiently(self._transport.models)

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

    async def _patiently(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        attempt = 0
        while True:
            try:
                return await ask()
            except ServerBusy as busy:
                wait_s = self._policy.wait_s(attempt, busy.retry_after)
                if wait_s is None:
                    raise
            await self._sleep(wait_s)
            attempt += 1


class _Transport(Protocol):
    def segment(self, call: SegmentCall) -> Result: ...
    def stream(self, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameAnswer]: ...
    def models(self) -> list[dict[str, Any]]: ...
    def ready(self) -> bool: ...
    def close(self) -> None: ...


class _AsyncTransport(Protocol):
    async def segment(self, call: SegmentCall) -> Result: ...
    def stream(self, calls: AsyncIterator[SegmentCall], *, newest: bool) -> AsyncIterator[FrameAnswer]: ...
    async def models(self) -> list[dict[str, Any]]: ...
    async def ready(self) -> bool: ...
    async def close(self) -> None: ...


def _access(
    api_key: str | None, ca: str | Path | None, certificate: str | Path | None, key: str | Path | None
) -> Access:
    paths = {"ca": ca, "certificate": certificate, "key": key}
    return Access(api_key=api_key, **{name: None if path is None else Path(path) for name, path in paths.items()})


def _transport(url: str, timeout_s: float, access: Access) -> _Transport:
    if _speaks_grpc(url):
        with needing_client_extra("a grpc:// address"):
            from .grpc_transport import GrpcTransport
        return GrpcTransport(url, timeout_s, access)
    from .http_transport import HttpTransport

    return HttpTransport(url, timeout_s, access)


def _async_transport(url: str, timeout_s: float, access: Access) -> _AsyncTransport:
    if _speaks_grpc(url):
        with needing_client_extra("a grpc:// address"):
            from .grpc_transport import AsyncGrpcTransport
        return AsyncGrpcTransport(url, timeout_s, access)
    from .http_transport import AsyncHttpTransport

    return AsyncHttpTransport(url, timeout_s, access)


def _speaks_grpc(url: str) -> bool:
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https", "grpc", "grpcs") or not urlsplit(url).hostname:
        raise BadInput(f"{url!r} is no usable address; give http://host:port or grpc://host:port")
    return scheme in ("grpc", "grpcs")


def _policy(timeout_s: float, retries: int) -> RetryPolicy:
    if not timeout_s > 0 or retries < 0:
        raise BadInput(f"timeout is {timeout_s} and retries is {retries}; give seconds above 0 and a count")
    return RetryPolicy(retries=retries, longest_wait_s=timeout_s)


def _call(
    rgb: Picture,
    depth: Picture | None,
    *,
    depth_scale: float | None = None,
    depth_invalid: float | Sequence[float] = (),
    request_id: str | None = None,
    **options: Any,  # noqa: ANN401 - fields of SegmentCall that need no preparation
) -> SegmentCall:
    if depth_scale is not None and not depth_scale > 0:
        raise BadInput(f"depth_scale is {depth_scale}; give metres per unit, such as 0.001 for millimetres")
    encoded = rgb_bytes(rgb)
    return SegmentCall(
        rgb=encoded,
        depth=None if depth is None else depth_bytes(depth),
        depth_scale=depth_scale,
        depth_invalid=markers_of(depth_invalid),
        # Naming it here lets even an error that never reached the server be matched with its log.
        request_id=request_id or secrets.token_hex(8),
        source=rgb if isinstance(rgb, np.ndarray) else encoded,
        **options,
    )


def _frame_call(
    frame: Frame,
    depth_scale: float | None,
    depth_invalid: float | Sequence[float],
    model: str | None,
    confidence: bool,
    gate: bool,
) -> SegmentCall:
    rgb, depth = frame if isinstance(frame, tuple) else (frame, None)
    return _call(
        rgb,
        depth,
        depth_scale=depth_scale,
        depth_invalid=depth_invalid,
        model=model,
        confidence=confidence,
        gate=gate,
    )
