"""Limits on connections, request headers and the framing of messages, which uvicorn does not have.

uvicorn waits without limit for the headers of a request, reads headers and trailers of any length, and reads on after
the response: clients that send a byte a minute, or nothing, would hold their connections forever. Below, the head of a
request is its request line and headers, and its framing all that is neither head nor body: chunk sizes and extensions,
trailers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import QueueFullError
from geminifusion_service.pipeline.budget import Holding, ResourceBudget
from geminifusion_service.transport.http.body import IncomingBody
from geminifusion_service.transport.http.header_rules import HeaderRules
from geminifusion_service.transport.http.upgrade import UpgradeIgnoringParser

# From the target, headers and client of a POST to the response, from the status code on, if it is to be rejected now.
Shed = Callable[[bytes, Sequence[tuple[bytes, bytes]], "tuple[str, int] | None"], "bytes | None"]
# The same of a request that is rejected with this error.
Reject = Callable[[bytes, Sequence[tuple[bytes, bytes]], "tuple[str, int] | None", GeminiFusionError], bytes]

_UNSENT_BYTES = 64 * 1024  # of a response, beyond which they count as held


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with limits and load shedding; `limited_http_protocol` sets them."""

    head_timeout_s: ClassVar[float]  # for the whole head of a request, the first from the start of the connection
    max_connections: ClassVar[int]
    max_head_bytes: ClassVar[int]  # and most of the framing, beside as many bytes as the body has
    max_body_bytes: ClassVar[int]  # what comes beyond is dropped, and the handler finds the body too long
    budget: ClassVar[ResourceBudget]
    rules: ClassVar[HeaderRules]
    reject: ClassVar[Reject]
    shed: ClassVar[Shed | None]

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **named)
        self.parser = UpgradeIgnoringParser(self)  # type: ignore[assignment]  # has the methods that uvicorn calls
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_head_complete = False
        self._in_message = False
        self._num_messages = 0
        self._arrived = 0  # bytes of bodies in the data that is being received
        self._framing_bytes = 0
        self._incoming: IncomingBody | None = None
        self._is_discarded = False  # the rest of a body that nobody reads
        self._rest_timer: asyncio.TimerHandle | None = None  # for the rest of a body after the response
        self._unsent: Holding | None = None
        self._unsent_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._reject_unread(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"this server has {self.max_connections} open connections, which is its limit; try again in a moment",
            )
            return
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._head_timer = _cancelled(self._head_timer)
        self._rest_timer = _cancelled(self._rest_timer)
        self._all_sent()
        for cycle, _ in self.pipeline:  # nobody will run them
            _give_back(cycle.scope)
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._all_sent()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.transport.is_closing():
            return
        continues, number = self._in_message and self._is_head_complete, self._num_messages
        if not self._in_message:
            self._start_head_timer()
        self._arrived = 0
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._reject_long_head()
        if self._arrived and self._incoming is not None and not self._is_discarded:
            self._hold(self._incoming, self._arrived)
        if continues and number == self._num_messages:  # all of the data belonged to one message
            self._framing_bytes += len(data) - 2 * self._arrived
            if self._framing_bytes > self.max_head_bytes:
                self._reject_unread(
                    HTTPStatus.BAD_REQUEST,
                    f"chunk sizes, chunk extensions and trailers have {self.max_head_bytes} bytes more than the body; "
                    "send larger chunks and no trailers",
                )

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self._is_discarded = self._is_head_complete = False
        self._in_message = True
        self._num_messages += 1
        self._framing_bytes = 0
        self._incoming = None
        self._start_head_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools. Trailers are dropped: no proxy has seen them, and nothing here reads them."""
        if not self._is_head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._head_timer = _cancelled(self._head_timer)
        self._is_head_complete = True
        if self.transport.is_closing():
            return
        length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if length > self.max_head_bytes:
            self._reject_long_head()
        elif (error := self._broken_rule()) is not None:
            self._respond(type(self).reject(self.url, self.headers, self.client, error))
            self.transport.close()
        elif (response := self._shed_response()) is not None:
            self._is_discarded = True
            self._respond(response)
            self.on_response_complete()
        else:
            if any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
                self._expect_body()
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools.

        uvicorn wakes the handler for each piece, and stops reading until it has taken it. Handlers here have no use for
        pieces, and the budget bounds what is kept of a body: they are woken when all of it is there, or too much.
        """
        self._arrived += len(body)
        if self.transport.is_closing() or self._is_discarded or self.cycle.response_complete:
            return
        if len(self.cycle.body) <= self.max_body_bytes:
            self.cycle.body += body
            if len(self.cycle.body) > self.max_body_bytes:
                self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._in_message = False
        self._rest_timer = _cancelled(self._rest_timer)
        if self._incoming is not None:
            self._incoming.holding.end_arrival()
        if not self.transport.is_closing() and not self._is_discarded:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Called by uvicorn when the headers of an upgrade are complete."""
        if not self.transport.is_closing():
            super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        """Called by uvicorn after a response."""
        super().on_response_complete()
        is_early = self._is_discarded or (self.cycle is not None and self.cycle.response_complete)
        if self._in_message and is_early and self._rest_timer is None:
            # Whoever sends a large body reads the response only after it.
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self.transport.close)
        if (unsent := self.transport.get_write_buffer_size()) > _UNSENT_BYTES:
            self._wait_until_sent(unsent)

    def _broken_rule(self) -> GeminiFusionError | None:
        return self.rules.broken_by(
            self.headers,
            http_version=self.parser.get_http_version(),
            upgrades=self.parser.should_upgrade() and self._should_upgrade(),
            method=self.parser.get_method(),
        )

    def _shed_response(self) -> bytes | None:
        shed = type(self).shed
        if shed is None or self.parser.get_method() != b"POST":
            return None
        in_turn = self.cycle is None or self.cycle.response_complete  # pipelined requests are responded to in order
        if not in_turn or not self.parser.should_keep_alive() or self.parser.should_upgrade():
            return None
        return shed(self.url, self.headers, self.client)

    def _respond(self, response: bytes) -> None:
        default_headers = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        status, _, rest = response.partition(b"\r\n")
        self.transport.write(b"HTTP/1.1 %b\r\n%b%b" % (status, default_headers, rest))

    def _expect_body(self) -> None:
        incoming = IncomingBody(self.budget.open())
        self._incoming = self.scope["state"]["incoming"] = incoming
        incoming.holding.begin_arrival(lambda error: self._stop_receiving(incoming, error))

    def _hold(self, incoming: IncomingBody, length: int) -> None:
        try:
            incoming.holding.take(bytes=length)
        except QueueFullError as error:
            self._stop_receiving(incoming, error)

    def _stop_receiving(self, incoming: IncomingBody, error: QueueFullError) -> None:
        """Discard what has come of a body and what still comes, and have the handler respond."""
        incoming.refusal = error
        incoming.holding.close()
        if incoming is self._incoming and self.cycle is not None:
            self._is_discarded = True
            self.cycle.body = bytearray()
            self.cycle.message_event.set()

    def _wait_until_sent(self, unsent: int) -> None:
        self._all_sent()
        self._unsent = self.budget.open()
        self._unsent.settle(bytes=unsent)
        self._unsent.begin_arrival(lambda _: self.transport.abort())
        self._unsent_timer = self.loop.call_later(self.timeout_keep_alive, self._abort_unless_read, unsent)

    def _abort_unless_read(self, unsent: int) -> None:
        """Give up a client that reads nothing of its response."""
        left = self.transport.get_write_buffer_size()
        if left >= unsent:
            self.transport.abort()
        else:
            self._unsent_timer = self.loop.call_later(self.timeout_keep_alive, self._abort_unless_read, left)

    def _all_sent(self) -> None:
        self._unsent_timer = _cancelled(self._unsent_timer)
        if self._unsent is not None:
            self._unsent.close()
            self._unsent = None

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._head_timed_out)

    def _head_timed_out(self) -> None:
        self._head_timer = None
        self._reject_unread(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the headers of a request did not arrive within {self.head_timeout_s:g} s; send them faster",
        )

    def _reject_long_head(self) -> None:
        self._head_timer = _cancelled(self._head_timer)
        self._reject_unread(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the headers of the request are longer than {self.max_head_bytes} bytes; send fewer or shorter ones",
        )

    def _reject_unread(self, status: HTTPStatus, text: str) -> None:
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
    *,
    head_timeout_s: float,
    max_connections: int,
    max_head_bytes: int,
    max_body_bytes: int,
    budget: ResourceBudget,
    rules: HeaderRules,
    reject: Reject,
    shed: Shed | None = None,
) -> type[LimitedHttpProtocol]:
    """A protocol class with these limits, for uvicorn's `http` setting."""
    return type(
        "LimitedHttpProtocol",
        (LimitedHttpProtocol,),
        {
            "head_timeout_s": head_timeout_s,
            "max_connections": max_connections,
            "max_head_bytes": max_head_bytes,
            "max_body_bytes": max_body_bytes,
            "budget": budget,
            "rules": rules,
            "reject": staticmethod(reject),
            "shed": shed and staticmethod(shed),
        },
    )


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """What is left of a timer that is not needed any more: None."""
    if timer is not None:
        timer.cancel()
    return None


def _give_back(scope: Any) -> None:  # noqa: ANN401 - uvicorn's own
    incoming: IncomingBody | None = scope["state"].get("incoming")
    if incoming is not None:
        incoming.holding.close()
