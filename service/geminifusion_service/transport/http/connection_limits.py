"""Limits on connections and on the heads of requests, where uvicorn has none.

uvicorn waits for ever for the head of a request, and reads heads of any length: a client that sends a byte a minute, or
a thousand that send nothing, would hold their connections for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# From target, headers and client the answer to a POST that is refused on its head, from the status on; None otherwise.
RefuseEarly = Callable[[bytes, Sequence[tuple[bytes, bytes]], "tuple[str, int] | None"], "bytes | None"]


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with three limits, and refusals ahead of the application; `guarded` makes a class of it."""

    head_timeout_s: ClassVar[float]  # for the whole head of a request, the first from the start of the connection
    most_connections: ClassVar[int]
    most_head_bytes: ClassVar[int]
    refuse_early: ClassVar[RefuseEarly | None]

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_refused = False  # the body of a refused request is read and thrown away

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"this server holds {self.most_connections} connections, which is all it takes; try again in a moment",
            )
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.most_head_bytes:
                self._head_too_long()

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self._is_refused = False
        self._expect_head()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._head_is_there()
        length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if length > self.most_head_bytes:
            self._head_too_long()
        elif (refusal := self._early_refusal()) is not None:
            self._is_refused = True
            date = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
            status, _, rest = refusal.partition(b"\r\n")
            self.transport.write(b"HTTP/1.1 %b\r\n%b%b" % (status, date, rest))
            self.on_response_complete()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        if not self.transport.is_closing() and not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self.transport.is_closing() and not self._is_refused:
            super().on_message_complete()

    def _early_refusal(self) -> bytes | None:
        refuse = type(self).refuse_early
        if refuse is None or self.parser.get_method() != b"POST":
            return None
        in_turn = self.cycle is None or self.cycle.response_complete  # answers of pipelined requests keep their order
        if not in_turn or not self.parser.should_keep_alive() or self.parser.should_upgrade():
            return None
        return refuse(self.url, self.headers, self.client)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._head_is_late)

    def _head_is_there(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        self._refuse(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the head of a request did not come within {self.head_timeout_s:g} s; send it faster",
        )

    def _head_too_long(self) -> None:
        self._head_is_there()
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the head of the request is longer than {self.most_head_bytes} bytes; send fewer or shorter headers",
        )

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        if self.transport.is_closing():
            return
        content = text.encode()
        self.transport.write(
            f"HTTP/1.1 {int(status)} {status.phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(content)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n".encode()
            + content
        )
        self.transport.close()


def guarded(
    *, head_timeout_s: float, most_connections: int, most_head_bytes: int, refuse_early: RefuseEarly | None = None
) -> type[GuardedProtocol]:
    """The protocol class with these limits, for uvicorn's `http` setting."""
    return type(
        "GuardedProtocol",
        (GuardedProtocol,),
        {
            "head_timeout_s": head_timeout_s,
            "most_connections": most_connections,
            "most_head_bytes": most_head_bytes,
            "refuse_early": refuse_early and staticmethod(refuse_early),
        },
    )
