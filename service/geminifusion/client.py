"""A client of the service, over HTTP or gRPC by the scheme of the address."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np

from .errors import BadInput, ClientError, ServerBusy
from .pictures import Picture, depth_bytes, rgb_bytes
from .results import Result
from .wire import RetryPolicy, SegmentCall

_Answer = TypeVar("_Answer")


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
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: `http://host:port`, `https://…` or `grpc://host:port`.
            timeout: seconds to wait for one answer.
            retries: how often a request refused by a busy server is sent again, after the time it advises; a
                wait longer than `timeout` is not taken.
            sleep: how to wait.

        Raises:
            BadInput: the address or an option makes no sense.
        """
        self._policy = _policy(timeout, retries)
        self._sleep = sleep
        self._transport = _transport(url, timeout)

    def segment(
        self,
        rgb: Picture,
        depth: Picture | None = None,
        *,
        depth_scale: float | None = None,
        model: str | None = None,
        confidence: bool = True,
        gate: bool = True,
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
            model: `name` or `name@version`; the server's default when left out.
            confidence, gate: whether to fetch these maps.
            deadline_ms: give up when the mask is not ready by then.
            request_id: a name of your own for this request in the server's log; made up when left out.

        Raises:
            ClientError: see `geminifusion.errors`.
        """
        call = _call(rgb, depth, depth_scale, model, confidence, gate, deadline_ms, request_id)
        return self._patiently(lambda: self._transport.segment(call))

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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """See `Client`."""
        self._policy = _policy(timeout, retries)
        self._sleep = sleep
        self._transport = _async_transport(url, timeout)

    async def segment(
        self,
        rgb: Picture,
        depth: Picture | None = None,
        *,
        depth_scale: float | None = None,
        model: str | None = None,
        confidence: bool = True,
        gate: bool = True,
        deadline_ms: float | None = None,
        request_id: str | None = None,
    ) -> Result:
        """See `Client.segment`; pictures and answers are read in a thread."""
        call = await asyncio.to_thread(_call, rgb, depth, depth_scale, model, confidence, gate, deadline_ms, request_id)
        return await self._patiently(lambda: self._transport.segment(call))

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
    def models(self) -> list[dict[str, Any]]: ...
    def ready(self) -> bool: ...
    def close(self) -> None: ...


class _AsyncTransport(Protocol):
    async def segment(self, call: SegmentCall) -> Result: ...
    async def models(self) -> list[dict[str, Any]]: ...
    async def ready(self) -> bool: ...
    async def close(self) -> None: ...


def _transport(url: str, timeout_s: float) -> _Transport:
    if _speaks_grpc(url):
        with _grpc_installed():
            from .grpc_transport import GrpcTransport
        return GrpcTransport(url, timeout_s)
    from .http_transport import HttpTransport

    return HttpTransport(url, timeout_s)


def _async_transport(url: str, timeout_s: float) -> _AsyncTransport:
    if _speaks_grpc(url):
        with _grpc_installed():
            from .grpc_transport import AsyncGrpcTransport
        return AsyncGrpcTransport(url, timeout_s)
    from .http_transport import AsyncHttpTransport

    return AsyncHttpTransport(url, timeout_s)


def _speaks_grpc(url: str) -> bool:
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https", "grpc") or not urlsplit(url).hostname:
        raise BadInput(f"{url!r} is no usable address; give http://host:port or grpc://host:port")
    return scheme == "grpc"


@contextmanager
def _grpc_installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ClientError(
            f'a grpc:// address needs {error.name}; run: pip install "geminifusion[client]"',
            code="missing_extra",
        ) from None


def _policy(timeout_s: float, retries: int) -> RetryPolicy:
    if not timeout_s > 0 or retries < 0:
        raise BadInput(f"timeout is {timeout_s} and retries is {retries}; give seconds above 0 and a count")
    return RetryPolicy(retries=retries, longest_wait_s=timeout_s)


def _call(
    rgb: Picture,
    depth: Picture | None,
    depth_scale: float | None,
    model: str | None,
    confidence: bool,
    gate: bool,
    deadline_ms: float | None,
    request_id: str | None,
) -> SegmentCall:
    if depth_scale is not None and not depth_scale > 0:
        raise BadInput(f"depth_scale is {depth_scale}; give metres per unit, such as 0.001 for millimetres")
    encoded = rgb_bytes(rgb)
    return SegmentCall(
        rgb=encoded,
        depth=None if depth is None else depth_bytes(depth),
        depth_scale=depth_scale,
        model=model,
        confidence=confidence,
        gate=gate,
        deadline_ms=deadline_ms,
        # Naming it here lets even an error that never reached the server be matched with its log.
        request_id=request_id or secrets.token_hex(8),
        source=rgb if isinstance(rgb, np.ndarray) else encoded,
    )
