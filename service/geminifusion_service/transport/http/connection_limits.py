"""Limits on connections and request headers, which uvicorn does not have.

uvicorn waits without limit for the headers of a request, and reads headers of any length: clients that send a byte a
minute, or nothing, would hold their connections forever. Below, the head of a request is its request line and headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from geminifusion_service.transport.http.upgrade import UpgradeIgnoringParser

# From the target, headers and client of a POST to the response, from the status code on, if it is to be rejected now.
Shed = Callable[[bytes, Sequence[tuple[bytes, bytes]], "tuple[str, int] | None"], "bytes | None"]


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with three limits and load shedding; `limited_http_protocol` sets them."""

    head_timeout_s: ClassVar[float]  # for the whole head of a request, the first from the start of the connection
    max_connections: ClassVar[int]
    max_head_bytes: ClassVar[int]
    shed: ClassVar[Shed | None]

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **named)
        self.parser = UpgradeIgnoringParser(self)  # type: ignore[assignment]  # has the methods that uvicorn calls
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_shed = False  # the body of a rejected request is read and discarded

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._reject(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"this server has {self.max_connections} open connections, which is its limit; try again in a moment",
            )
            return
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._reject_long_head()

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self._is_shed = False
        self._start_head_timer()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._stop_head_timer()
        length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if length > self.max_head_bytes:
            self._reject_long_head()
        elif (response := self._shed_response()) is not None:
            self._is_shed = True
            default_headers = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
            status, _, rest = response.partition(b"\r\n")
            self.transport.write(b"HTTP/1.1 %b\r\n%b%b" % (status, default_headers, rest))
            self.on_response_complete()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        if not self.transport.is_closing() and not self._is_shed:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self.transport.is_closing() and not self._is_shed:
            super().on_message_complete()

    def _shed_response(self) -> bytes | None:
        shed = type(self).shed
        if shed is None or self.parser.get_method() != b"POST":
            return None
        in_turn = self.cycle is None or self.cycle.response_complete  # pipelined requests are responded to in order
        if not in_turn or not self.parser.should_keep_alive() or self.parser.should_upgrade():
            return None
        return shed(self.url, self.headers, self.client)

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._head_timed_out)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        self._reject(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the headers of a request did not arrive within {self.head_timeout_s:g} s; send them faster",
        )

    def _reject_long_head(self) -> None:
        self._stop_head_timer()
        self._reject(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the headers of the request are longer than {self.max_head_bytes} bytes; send fewer or shorter ones",
        )

    def _reject(self, status: HTTPStatus, text: str) -> None:
        if self.transport.is_closing():
            return
        content = text.encode()
        self.transport.write(
            f"HTTP/1.1 {int(status)} {status.phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(content)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n".encode()
            + content
        )
        self.transport.close()


def limited_http_protocol(
    *, head_timeout_s: float, max_connections: int, max_head_bytes: int, shed: Shed | None = None
) -> type[LimitedHttpProtocol]:
    """A protocol class with these limits, for uvicorn's `http` setting."""
    return type(
        "LimitedHttpProtocol",
        (LimitedHttpProtocol,),
        {
            "head_timeout_s": head_timeout_s,
            "max_connections": max_connections,
            "max_head_bytes": max_head_bytes,
            "shed": shed and staticmethod(shed),
        },
    )
