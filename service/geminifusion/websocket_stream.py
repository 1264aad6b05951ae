"""Frames over the WebSocket `/v1/stream`, for `http://` and `https://` addresses, with websockets.

There is one implementation, for an event loop, and callers without one get a loop in a thread. The blocking client of
websockets would not do: it sends and receives under one lock, and a server whose responses are not read accepts no
frames.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
)

from .blocking import async_iterator, blocking_iterator
from .errors import (
    ClientError,
    InvalidInputError,
    InvalidResponseError,
    ResponseTimeoutError,
    ServerError,
    ServerUnreachableError,
    error_of_status,
)
from .options import SegmentCall
from .proxies import environment_advice, may_use_proxy, through_proxy, unreachable_advice
from .response_limits import MAX_PROBLEM_BYTES, max_response_bytes, too_large
from .streaming import FrameResponse, PendingFrames
from .wire import NOT_OURS, error_from_response, frame_message, result_from_facts, seconds
from .wrong_port import advice

_PATH = "/v1/stream"
_END = "end"  # no more frames
# Frames sent whose responses the caller has not taken. What was received is kept, not left on the wire, so that pings
# are answered while the caller does something else; this keeps it from growing. Of a server that sends more than it was
# asked for, the rest is left on the wire.
_MAX_UNREAD = 64
_TOO_BIG = 1009


@dataclass(frozen=True, kw_only=True)
class StreamAddress:
    """Where to open streams, and how.

    Attributes:
        url: address of the server, `http://` or `https://`.
        timeout_s: longest a stream may take to open.
        headers: those of the request that opens it.
        tls: settings for `https`; None for `http`.
    """

    url: str
    timeout_s: float
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None

    def connection(self, *, newest: bool) -> connect:
        """A connection that is still to be opened."""
        address = urlsplit(self.url)
        address = address._replace(
            scheme="ws" if self.tls is None else "wss",
            path=address.path.rstrip("/") + _PATH,
            query="mode=newest" if newest else "",
            fragment="",
        )
        return _Connect(
            address.geturl(),
            additional_headers=self.headers,
            user_agent_header=None,  # it is among the headers
            open_timeout=self.timeout_s,
            compression=None,
            max_size=MAX_PROBLEM_BYTES,  # until frames are sent
            max_queue=_MAX_UNREAD,
            proxy=True if may_use_proxy(self.url) else None,
            ssl=self.tls,
        )


class _Connect(connect):
    """Follows no redirection, as over HTTP: images and keys go where the caller said."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def stream_frames(
    where: StreamAddress, calls: AsyncIterator[SegmentCall], *, newest: bool
) -> AsyncGenerator[FrameResponse, None]:
    """Send frames as fast as they are accepted, and read the responses.

    Raises:
        ClientError: the stream cannot be opened, or it breaks. What `calls` raises is raised once every frame before
            has its response.
    """
    sent, room = PendingFrames(), asyncio.Semaphore(_MAX_UNREAD)
    with _client_errors(where, sent):
        async with where.connection(newest=newest) as socket:
            sender = asyncio.create_task(_send(socket, calls, sent, room))
            try:
                while (message := await _next_message(socket, sent, where)) is not None:
                    yield await asyncio.to_thread(_response, message, sent)
                    room.release()
            finally:
                socket.transport.abort()  # a close frame would wait behind frames that the server does not accept
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
    sent.raise_failure()
    sent.check_all_answered(where.url)


def stream_frames_blocking(
    where: StreamAddress, calls: Iterator[SegmentCall], *, newest: bool
) -> Iterator[FrameResponse]:
    """`stream_frames` for a caller without an event loop; frames are taken in another thread."""
    return blocking_iterator(stream_frames(where, async_iterator(calls), newest=newest))


async def _send(
    socket: ClientConnection, calls: AsyncIterator[SegmentCall], sent: PendingFrames, room: asyncio.Semaphore
) -> None:
    with suppress(ConnectionClosed):  # the reader of the responses is told why
        while True:
            await room.acquire()
            try:
                call = await anext(calls, None)
            except Exception as error:
                sent.failure = error
                break
            if call is None:
                break
            sent.add(call)
            socket.protocol.max_message_size = sent.max_response_bytes
            await socket.send(frame_message(call))
        sent.complete = True
        await socket.send(_END)


async def _next_message(socket: ClientConnection, sent: PendingFrames, where: StreamAddress) -> str | bytes | None:
    """The next message of the server; None after its last.

    Raises:
        ResponseTimeoutError: none came, though it was the server's turn for the whole of the timeout.
    """
    while True:
        waiting = sent.is_servers_turn
        try:
            async with asyncio.timeout(where.timeout_s):
                return await socket.recv()
        except ConnectionClosedOK:
            return None
        except TimeoutError:
            if waiting:
                raise sent.late(where.url, where.timeout_s) from None


def _response(message: str | bytes, sent: PendingFrames) -> FrameResponse:
    """The server's response to one of the frames.

    Raises:
        ServerError: the message says why the stream ends.
        InvalidResponseError: it is no message of this service.
    """
    try:
        facts = json.loads(message)
        number = facts.get("frame")
        problem = _problem_in(facts)
    except NOT_OURS as error:
        raise InvalidResponseError(
            f"the server's message is not one of geminifusion's ({type(error).__name__}: {str(error)[:200]}); "
            "check the address, and that client and server are of the same release"
        ) from error
    if number is None and problem is not None:
        raise problem
    call = sent.pop(number)
    if problem is not None:
        problem.request_id = call.request_id
        return FrameResponse(number=number, error=problem)
    if len(message) > (most := max_response_bytes(call.sources)):  # another frame may have had more
        raise too_large(most)
    return FrameResponse(number=number, result=result_from_facts(facts, call))


def _problem_in(facts: dict[str, dict[str, str | float]]) -> ServerError | None:
    error = facts.get("error")
    if error is None:
        return None
    retry_after = error.get("retry_after_s")
    return error_of_status(
        str(error["detail"]),
        code=str(error["code"]),
        status=int(error["status"]),
        request_id=None,
        retry_after=None if retry_after is None else seconds(str(retry_after)),
    )


@contextmanager
def _client_errors(where: StreamAddress, sent: PendingFrames) -> Iterator[None]:
    try:
        yield
    except ClientError:  # some are built-in errors too
        raise
    except InvalidStatus as error:
        response = error.response
        if response.status_code < 400:
            raise InvalidResponseError(
                f"{where.url} responded {response.status_code} and opened no stream; check the address"
            ) from error
        raise error_from_response(response.status_code, response.headers, bytes(response.body or b"")) from error
    except (ImportError, InvalidProxy) as error:  # of proxies of a kind that websockets does not know
        raise InvalidInputError(environment_advice(error)) from error
    except (InvalidMessage, ProxyError) as error:
        raise ServerUnreachableError(
            f"no stream could be opened at {where.url}{through_proxy(where.url)} ({error}); "
            f"{advice(error, where.url) or 'check the address'}"
        ) from error
    except InvalidHandshake as error:
        raise InvalidResponseError(f"{where.url} is no geminifusion server ({error}); check the address") from error
    except ConnectionClosed as error:
        if error.rcvd is not None and error.rcvd.code == _TOO_BIG:
            raise error_of_status(
                "the images are more bytes than may be sent at once; send smaller ones, or start the server with a "
                "larger --max-body-bytes",
                code="body_too_large",
                status=413,
                request_id=None,
            ) from error
        if error.sent is not None and error.sent.code == _TOO_BIG:
            raise too_large(sent.max_response_bytes) from error
        raise ServerUnreachableError(f"the connection to {where.url} broke ({error}); try again") from error
    except TimeoutError as error:
        raise ResponseTimeoutError(
            f"{where.url} opened no stream within {where.timeout_s:g} s; give a longer timeout, or ask at a quieter "
            "time"
        ) from error
    except OSError as error:
        raise ServerUnreachableError(
            f"nothing responds at {where.url}{through_proxy(where.url)} ({error}); "
            f"{advice(error, where.url) or unreachable_advice(where.url)}"
        ) from error
