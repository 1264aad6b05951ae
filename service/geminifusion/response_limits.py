"""What a client takes of a server it does not trust: so many bytes, within so much time, of the image it sent."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx
import numpy as np
from numpy.typing import NDArray

from .errors import InvalidResponseError

MAX_RESPONSE_BYTES = 2**28  # run lengths and maps of the largest image stay well below
MAX_DOCUMENT_BYTES = 2**24  # of a list of models
MAX_PROBLEM_BYTES = 2**20  # of an error
_MAX_CLASSES = 256  # their numbers are bytes
_BYTES_BESIDE = 2**20
_BYTES_PER_PIXEL = 16  # run lengths of labels that change at every pixel take four

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)

Size = tuple[int, int]  # height, width


def max_response_bytes(sources: Mapping[str, bytes | NDArray[Any]]) -> int:
    """Most bytes of the response to these images."""
    sizes = [image_size(image) for image in sources.values()]
    known = [size for size in sizes if size is not None]
    if not known or len(known) < len(sizes):
        return MAX_RESPONSE_BYTES
    return min(MAX_RESPONSE_BYTES, _BYTES_BESIDE + _BYTES_PER_PIXEL * max(height * width for height, width in known))


def check_size(height: int, width: int, sources: Mapping[str, bytes | NDArray[Any]], *, what: str = "labels") -> None:
    """Check the size of an answer against that of the images it is for.

    Args:
        what: came, for the message.

    Raises:
        ValueError: it is that of none of them.
    """
    sizes = [image_size(image) for image in sources.values()]
    if height < 1 or width < 1 or height * width > MAX_RESPONSE_BYTES:
        raise ValueError(f"{what} of {width}x{height} pixels")
    if sizes and None not in sizes and (height, width) not in sizes:
        sent = " and ".join(sorted({f"{size[1]}x{size[0]}" for size in sizes if size is not None}))
        raise ValueError(f"{what} of {width}x{height} pixels for an image of {sent}")


def check_class_count(*counts: int) -> None:
    """Check the lengths of lists that have an entry for each class of a label map.

    Raises:
        ValueError: one has more than there can be classes.
    """
    if max(counts) > _MAX_CLASSES:
        raise ValueError(f"a list of {max(counts)} classes, expected at most {_MAX_CLASSES}")


def too_large(max_bytes: int) -> InvalidResponseError:
    """The error for a response of more bytes than what was sent can need."""
    return InvalidResponseError(
        f"the response has more than {max_bytes} bytes, too many for what was sent; check the address"
    )


def image_size(image: bytes | NDArray[Any]) -> Size | None:
    """Height and width of an image; None where its format does not say so near its start."""
    if isinstance(image, np.ndarray):
        return (int(image.shape[0]), int(image.shape[1])) if image.ndim > 1 else None
    try:
        if image.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", image, 16)
            return height, width
        if image.startswith(b"\xff\xd8"):
            return _jpeg_size(image)
    except (IndexError, struct.error):
        pass
    return None


def _jpeg_size(image: bytes) -> Size | None:
    position = 2
    for _ in range(1000):
        if image[position] != 0xFF:
            return None
        marker = image[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", image, position + 5)
            return height, width
        position += 2 + int(struct.unpack_from(">H", image, position + 2)[0])
    return None


class Body:
    """The body of an HTTP response while it arrives, decompressed. `add` raises InvalidResponseError beyond a limit."""

    def __init__(self, response: httpx.Response, max_bytes: int) -> None:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise InvalidResponseError(
                f"the response is encoded as {encoding[:50]!r}, and gzip was asked for; check the address"
            )
        self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._length = 0

    def add(self, chunk: bytes) -> None:
        """Add what came."""
        if self._gzip is not None:
            try:
                chunk = self._gzip.decompress(chunk, self._max_bytes - self._length + 1)
            except zlib.error as error:
                raise InvalidResponseError(f"the response is no gzip ({error}); check the address") from None
        self._length += len(chunk)
        if self._length > self._max_bytes:
            raise too_large(self._max_bytes)
        self._chunks.append(chunk)

    @property
    def content(self) -> bytes:
        """All of it."""
        return b"".join(self._chunks)


@contextmanager
def total_timeout(timeout_s: float) -> Iterator[None]:
    """Have connections of `limit_total_time` end what they do in this block within so many seconds in all."""
    token = _deadline.set(time.monotonic() + timeout_s)
    try:
        yield
    finally:
        _deadline.reset(token)


def limit_total_time(client: httpx.Client) -> None:
    """Let `total_timeout` hold for a client: its own timeout begins anew with every byte that comes."""
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,  # noqa: ANN401 - httpcore's own
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Any = None,  # noqa: ANN401 - httpcore's own
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_unix_socket(path, _left(timeout, httpcore.ConnectTimeout), socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:  # noqa: ANN401 - httpcore's own
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout, httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's own
        return self._inner.get_extra_info(info)


def _left(timeout: float | None, too_late: type[Exception]) -> float | None:
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_late("the whole response took too long")
    return left if timeout is None else min(timeout, left)
