"""Frames over the WebSocket `/v1/stream`, for `http://` and `https://` addresses, spoken with websockets.

There is one implementation, for an event loop, and callers without one get a loop in a thread. The blocking client of
websockets would not do: it sends and receives under one lock, and a server whose answers are not read takes no frames.
"""

from __future__ import annotations

import asyncio
import json
import queue
import ssl
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, ProxyError

from .errors import AnswerTimeout, BadAnswer, ServerError, ServerUnreachable, answered_error
from .streaming import FrameAnswer, SentFrames
from .wire import SegmentCall, error_from_answer, frame_message, may_use_proxy, result_from_facts

_PATH = "/v1/stream"
_END = "end"  # no more frames
# Frames sent whose answers the caller has not taken. What was received is kept, not left on the wire, so that pings are
# answered while the caller does something else; this keeps it from growing.
_UNTAKEN = 64
_MAX_ANSWER_BYTES = 2**28  # run lengths and maps of the largest picture stay well below
_TOO_BIG = 1009
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class StreamAddress:
    """Where to open streams, and how.

    Attributes:
        url: of the server, `http://` or `https://`.
        timeout_s: longest a stream may take to open.
        headers: of the request that opens it.
        trust: for `https`; None for `http`.
    """

    url: str
    timeout_s: float
    headers: Mapping[str, str]
    trust: ssl.SSLContext | None

    def connection(self, *, newest: bool) -> connect:
        """A connection that is still to be opened."""
        address = urlsplit(self.url)
        address = address._replace(
            scheme="ws" if self.trust is None else "wss",
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
            max_size=_MAX_ANSWER_BYTES,
            max_queue=None,
            proxy=True if may_use_proxy(self.url) else None,
            ssl=self.trust,
        )


class _Connect(connect):
    """As over HTTP, redirections are not followed: pictures and keys go where the caller said."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def answered(
    where: StreamAddress, calls: AsyncIterator[SegmentCall], *, newest: bool
) -> AsyncGenerator[FrameAnswer, None]:
    """Send frames as fast as they are taken and read their answers.

    Raises:
        ClientError: the stream cannot be opened, or it breaks. What `calls` raises is raised when every frame before
            has been answered.
    """
    sent, room = SentFrames(), asyncio.Semaphore(_UNTAKEN)
    with _client_errors(where):
        async with where.connection(newest=newest) as socket:
            sender = asyncio.create_task(_send(socket, calls, sent, room))
            try:
                async for message in socket:
                    yield await asyncio.to_thread(_answer, message, sent)
                    room.release()
            finally:
                socket.transport.abort()  # a farewell would wait behind frames that the server does not take
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
    sent.raise_failure()
    if sent.unanswered or not sent.complete:
        raise ServerUnreachable(f"{where.url} ended the stream and did not say why; send the rest over a new one")


def answered_in_thread(where: StreamAddress, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameAnswer]:
    """`answered` for a caller without an event loop; frames are taken in another thread."""
    with _loop_beside() as loop:
        answers, turn = answered(where, _taken(calls), newest=newest), asyncio.Lock()
        try:
            while True:
                next_one = asyncio.run_coroutine_threadsafe(_next(answers, turn), loop)
                if (answer := next_one.result()) is None:
                    return
                yield answer
        finally:
            next_one.cancel()  # it is still awaited where the caller was interrupted
            asyncio.run_coroutine_threadsafe(_close(answers, turn), loop).result()


async def _send(
    socket: ClientConnection, calls: AsyncIterator[SegmentCall], sent: SentFrames, room: asyncio.Semaphore
) -> None:
    with suppress(ConnectionClosed):  # who reads the answers is told why
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
            await socket.send(frame_message(call))
        sent.complete = True
        await socket.send(_END)


def _answer(message: str | bytes, sent: SentFrames) -> FrameAnswer:
    """What the server says of one of the frames.

    Raises:
        ServerError: it says why the stream ends.
        BadAnswer: it is not what this service says.
    """
    try:
        facts = json.loads(message)
        number = facts.get("frame")
        problem = _problem_in(facts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadAnswer(
            f"the server's message is not one of geminifusion's ({type(error).__name__}: {error}); "
            "check the address, and that client and server are of the same release"
        ) from error
    if number is None and problem is not None:
        raise problem
    call = sent.pop(number)
    if problem is not None:
        problem.request_id = call.request_id
        return FrameAnswer(number=number, error=problem)
    return FrameAnswer(number=number, result=result_from_facts(facts, call.source))


def _problem_in(facts: dict[str, dict[str, str | float]]) -> ServerError | None:
    error = facts.get("error")
    if error is None:
        return None
    retry_after = error.get("retry_after_s")
    return answered_error(
        str(error["detail"]),
        code=str(error["code"]),
        status=int(error["status"]),
        request_id=None,
        retry_after=None if retry_after is None else float(retry_after),
    )


@contextmanager
def _client_errors(where: StreamAddress) -> Iterator[None]:
    try:
        yield
    except InvalidStatus as error:
        response = error.response
        if response.status_code < 400:
            raise BadAnswer(
                f"{where.url} answered {response.status_code} and opened no stream; check the address"
            ) from error
        raise error_from_answer(response.status_code, response.headers, bytes(response.body or b"")) from error
    except (InvalidMessage, ProxyError) as error:
        raise ServerUnreachable(f"no stream could be opened at {where.url} ({error}); check the address") from error
    except InvalidHandshake as error:
        raise BadAnswer(f"{where.url} is no geminifusion server ({error}); check the address") from error
    except ConnectionClosed as error:
        if error.rcvd is not None and error.rcvd.code == _TOO_BIG:
            raise answered_error(
                "the pictures are more bytes than may be sent at once; send smaller ones, or start the server with a "
                "larger --max-body-bytes",
                code="body_too_large",
                status=413,
                request_id=None,
            ) from error
        raise ServerUnreachable(f"the connection to {where.url} broke ({error}); try again") from error
    except TimeoutError as error:
        raise AnswerTimeout(
            f"{where.url} opened no stream within {where.timeout_s:g} s; give a longer timeout, or ask at a quieter "
            "time"
        ) from error
    except OSError as error:
        raise ServerUnreachable(
            f"nothing answers at {where.url} ({error}); start it with `geminifusion serve`, or check the address"
        ) from error


@contextmanager
def _loop_beside() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread; what is under way on it when the block ends is given up."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()), name="geminifusion-stream", daemon=True)
    thread.start()
    loop, stop = started.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _next(answers: AsyncGenerator[FrameAnswer, None], turn: asyncio.Lock) -> FrameAnswer | None:
    async with turn:
        return await anext(answers, None)


async def _close(answers: AsyncGenerator[FrameAnswer, None], turn: asyncio.Lock) -> None:
    async with turn:
        await answers.aclose()


async def _taken(items: Iterator[_T]) -> AsyncIterator[_T]:
    """Items of an iterator that may block, each taken when it is asked for, in a thread that nobody has to wait for."""
    loop = asyncio.get_running_loop()
    wanted: queue.SimpleQueue[asyncio.Future[_T | None] | None] = queue.SimpleQueue()

    def settle(future: asyncio.Future[_T | None], item: _T | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(item)
        else:
            future.set_exception(error)

    def take() -> None:
        while (future := wanted.get()) is not None:
            item, error = None, None
            try:
                item = next(items, None)
            except Exception as raised:
                error = raised
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, future, item, error)

    threading.Thread(target=take, name="geminifusion-frames", daemon=True).start()
    try:
        while True:
            future: asyncio.Future[_T | None] = loop.create_future()
            wanted.put(future)
            item = await future
            if item is None:
                return
            yield item
    finally:
        wanted.put(None)
