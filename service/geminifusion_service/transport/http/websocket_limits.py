"""Limits on WebSocket frames and on messages on their way, which uvicorn does not have.

Its own limit is on the bytes of a message. Frames without any cost the same work as others, and messages that are not
complete are held by nobody whom admission knows.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.server import ServerProtocol

from geminifusion_service.errors import QueueFullError
from geminifusion_service.pipeline.budget import Holding, ResourceBudget

_MAX_FRAGMENTS = 1024  # of a message; 64 kB each for the largest of the default size
_MAX_CONTROL_FRAMES = 100  # in a second
# After the last word to a client that has more on its way: read on, or the kernel would reset the connection, and with
# it take back what was said. Until the client closes, rests or goes on for too long.
_DRAIN_S = 2.0
_DRAIN_REST_S = 0.5
_DRAIN_BYTES = 128 * 1024 * 1024


class _LimitedFrames(ServerProtocol):
    """Fails a connection whose frames are work without content."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - of websockets
        super().__init__(**options)
        self._num_fragments = 0
        self._num_control = 0
        self._second = 0.0
        self._broke_policy = False

    def recv_frame(self, frame: Frame) -> None:
        """See websockets."""
        if frame.opcode is Opcode.CONT:
            self._num_fragments += 1
            if self._num_fragments > _MAX_FRAGMENTS:
                self._break_policy(f"a message has more than {_MAX_FRAGMENTS} fragments; send it in fewer")
        elif frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            self._count_control_frame()
        else:
            self._num_fragments = 0
        super().recv_frame(frame)

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        """See websockets."""
        super().fail(CloseCode.POLICY_VIOLATION if self._broke_policy else code, reason)

    def _count_control_frame(self) -> None:
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._num_control = now, 0
        self._num_control += 1
        if self._num_control > _MAX_CONTROL_FRAMES:
            self._break_policy(f"more than {_MAX_CONTROL_FRAMES} pings came in a second; send fewer")

    def _break_policy(self, reason: str) -> None:
        self._broke_policy = True
        raise ProtocolError(reason)  # the parser stops at nothing else


class LimitedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol with these limits; `limited_websocket_protocol` sets the budget."""

    budget: ClassVar[ResourceBudget]

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **named)
        self.conn = _LimitedFrames(max_size=self.config.ws_max_size, logger=self.logger)
        self._holding: Holding = self.budget.open()
        self._fragment_bytes = 0
        self._queued_bytes = 0  # of messages that the application has not taken yet
        self._drain_end: float | None = None  # when to stop reading what nobody wants, in the loop's time
        self._drain_bytes = 0

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._drain_end is not None:
            self._drain(len(data))
            return
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            # What the parser does not take it leaves without a response, and nobody would close the connection.
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()
        self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._holding.close()
        self._forget_unfinished()  # its parser refers to itself, and what it holds would wait for the garbage collector
        super().connection_lost(exc)

    def handle_parser_exception(self) -> None:
        """Called by uvicorn when a connection has failed: send the close frame, and end without a reset."""
        if self._drain_end is not None or self.transport.is_closing():
            return
        assert self.conn.close_sent is not None
        ended = {"type": "websocket.disconnect", "code": self.conn.close_sent.code}
        self.queue.put_nowait(ended | {"reason": self.conn.close_sent.reason})  # type: ignore[arg-type]
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._holding.close()
        self._forget_unfinished()
        self._drain_end = self.loop.time() + _DRAIN_S
        if self.transport.can_write_eof():  # not over TLS
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._drain(0)

    def _drain(self, num_bytes: int) -> None:
        """Pass over what came, and wait for more."""
        assert self._drain_end is not None
        self._drain_bytes += num_bytes
        left_s = self._drain_end - self.loop.time()
        if self.close_timer is not None:
            self.close_timer.cancel()
        if left_s <= 0 or self._drain_bytes > _DRAIN_BYTES:
            self.transport.close()
            return
        self.close_timer = self.loop.call_later(min(left_s, _DRAIN_REST_S), self.transport.close)

    def handle_cont(self, event: Frame) -> None:
        """Called by uvicorn for a fragment that continues a message."""
        self._fragment_bytes += len(event.data)
        super().handle_cont(event)

    def handle_text(self, event: Frame) -> None:
        """Called by uvicorn for the first frame of a text message."""
        self._fragment_bytes = len(event.data)
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Called by uvicorn for the first frame of a binary message."""
        self._fragment_bytes = len(event.data)
        super().handle_bytes(event)

    def send_receive_event_to_app(self) -> None:
        """Called by uvicorn for a whole message."""
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            # uvicorn would log what a client sent as an error of this server, with a traceback.
            self._fragment_bytes = 0
            self._forget_unfinished()
            self.conn.fail(CloseCode.INVALID_DATA, "a text message is not UTF-8; send frames as binary messages")
            self.handle_parser_exception()
            return
        self._queued_bytes += self._fragment_bytes
        self._fragment_bytes = 0
        super().send_receive_event_to_app()

    async def receive(self) -> ASGIReceiveEvent:
        """See ASGI."""
        event = await super().receive()
        if event["type"] == "websocket.receive":
            # From here on its frame is admitted, or rejected, as a request.
            self._queued_bytes = max(0, self._queued_bytes - len(event.get("bytes") or event.get("text") or b""))
            self._count()
        return event

    async def send(self, message: ASGISendEvent) -> None:
        """See ASGI."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # The handshake ended with a rejection. uvicorn would log that the application has left it unfinished.
            self.handshake_complete = True

    def _count(self) -> None:
        """Hold what has come of messages and was not taken by the application."""
        if self._drain_end is not None:
            return
        unparsed = len(self.conn.reader.buffer)
        size = unparsed + self._fragment_bytes + self._queued_bytes
        more = size - self._holding.amounts["bytes"]
        if unparsed + self._fragment_bytes:
            self._holding.begin_arrival(self._close_for)
        else:
            self._holding.end_arrival()
        if more <= 0:
            self._holding.settle(bytes=size)
            return
        try:
            self._holding.take(bytes=more)
        except QueueFullError as error:
            self._close_for(error)

    def _close_for(self, error: QueueFullError) -> None:
        if self._drain_end is None and not self.transport.is_closing():
            self.conn.fail(CloseCode.TRY_AGAIN_LATER, str(error)[:120])
            self.handle_parser_exception()

    def _forget_unfinished(self) -> None:
        self.frames = []
        self.conn.reader.buffer.clear()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def limited_websocket_protocol(*, budget: ResourceBudget) -> type[LimitedWebSocketProtocol]:
    """A protocol class with this budget, for uvicorn's `ws` setting."""
    return type("LimitedWebSocketProtocol", (LimitedWebSocketProtocol,), {"budget": budget})
