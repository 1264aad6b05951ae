"""Streams of frames, whatever the transport: order, back-pressure, newest frame wins, drain.

client ──> read ──┬──> started ────────> done, in order ──> written      a place is free when the response
          ▲       │    at most 4         ▲                  │            has been written; then the waiting
          │       │    (2 if a newer     │                  │            frame is started
          │       │     frame wins)      │                  │
          │       └──> waiting ──────────┘                  │
          │            at most 1 ───> superseded by the     │
          │                           next frame ─────────> written, ahead of the frames that are started
          └── has_capacity: read the next frame only when it can be started, wait, or supersede the one that waits
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import BodyTimeoutError, NotReadyError, QueueFullError

Frame = TypeVar("Frame")
Response = TypeVar("Response")

# Frames of one stream that are started and not yet written: enough to keep decoder, engine and encoder busy at once.
_MAX_STARTED = 4
# Of frames that may be superseded: one at the engine and one being decoded; each more would only be older when it ends.
_MAX_STARTED_NEWEST = 2
_MAX_SUPERSEDED = 64  # superseded frames whose responses are not yet written


class StreamManager:
    """The open streams of every transport. Use from one event loop.

    Args:
        max_streams: open at once.
        idle_s: a stream ends when no frame has come for this long.
    """

    def __init__(self, *, max_streams: int, idle_s: float) -> None:
        self._max_streams = max_streams
        self._idle_s = idle_s
        self._open: set[asyncio.Event] = set()
        self._draining = False
        self._none_open = asyncio.Event()
        self._none_open.set()

    @property
    def num_open(self) -> int:
        """Streams open now."""
        return len(self._open)

    def check_admission(self) -> None:
        """Reject a stream before it is opened.

        Raises:
            NotReadyError: the server is stopping.
            QueueFullError: as many streams are open as may be.
        """
        if self._draining:
            raise NotReadyError("this server is stopping; open the stream on another one")
        if len(self._open) >= self._max_streams:
            raise QueueFullError(
                f"{len(self._open)} streams are open, which is all this server takes; try again in 1 s",
                retry_after_s=1,
            )

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """Open a stream, from its headers to its end.

        Raises:
            NotReadyError, QueueFullError: see `check_admission`.
        """
        self.check_admission()
        stop = asyncio.Event()
        self._open.add(stop)
        self._none_open.clear()
        try:
            yield Stream(stop, self._idle_s)
        finally:
            self._open.discard(stop)
            if not self._open:
                self._none_open.set()

    async def drain(self, timeout_s: float) -> bool:
        """Open no more; every open stream responds to what it has accepted, and ends. Whether all ended in time."""
        self._draining = True
        for stop in self._open:
            stop.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._none_open.wait()
        except TimeoutError:
            return False
        return True


class Stream:
    """One open stream. See `StreamManager.open`."""

    def __init__(self, stop: asyncio.Event, idle_s: float) -> None:
        self._stop = stop
        self._idle_s = idle_s

    async def responses(
        self,
        frames: AsyncIterator[Frame],
        *,
        respond: Callable[[int, Frame], Coroutine[Any, Any, Response]],
        supersedable: Callable[[Frame], bool],
        superseded: Callable[[int, Frame], Response],
    ) -> AsyncGenerator[Response, None]:
        """Respond to frames, which are numbered from 0.

        Responses to frames that were started come in the order of the frames. A frame is read only when there is
        capacity for it, and there is capacity again when a response has been taken and the next is asked for: a client
        that does not read, or an engine that is behind, stops the reading of frames. A frame that may be superseded and
        has not been started is superseded by the next one, and gets its response at once.

        Close the generator (`contextlib.aclosing`): that cancels what is in flight.

        Args:
            frames: ends when the client has sent its last. What it raises, unless it is a GeminiFusionError, ends the
                stream at once: nobody waits for the responses that are left.
            respond: makes the response to one frame; raises nothing but what should end the stream.
            supersedable: whether a newer frame may take this one's place while it has not been started.
            superseded: makes the response to a frame that was superseded.

        Raises:
            NotReadyError: the server is stopping; every accepted frame has its response.
            BodyTimeoutError: no frame came for too long; every accepted frame has its response.
        """
        in_flight = _InFlight(respond, supersedable, superseded)
        reader = asyncio.create_task(self._read(frames, in_flight))
        reader.add_done_callback(lambda _: in_flight.changed.set())
        stopping = asyncio.create_task(self._stop.wait())
        stopping.add_done_callback(lambda _: in_flight.changed.set())
        try:
            while not _client_gone(reader):
                try:
                    response = in_flight.get_nowait()
                except asyncio.QueueEmpty:
                    if in_flight.empty() and (reader.done() or self._stop.is_set()):
                        break
                    await in_flight.changed.wait()
                    in_flight.changed.clear()
                else:
                    yield response
                    in_flight.task_done()
        finally:
            stopping.cancel()
            reader.cancel()
            in_flight.cancel()
            await asyncio.gather(stopping, reader, return_exceptions=True)
        complete = not reader.cancelled() and reader.result()
        if not complete:
            raise NotReadyError("this server is stopping; send the frames that have no response to another one")

    async def _read(self, frames: AsyncIterator[Frame], in_flight: _InFlight[Frame, Response]) -> bool:
        """Read frames while there is capacity for them; whether the client has sent its last."""
        number = 0
        while True:
            await in_flight.has_capacity.wait()
            try:
                async with asyncio.timeout(self._idle_s):
                    frame = await anext(frames)
            except StopAsyncIteration:
                return True
            except TimeoutError:
                raise BodyTimeoutError(
                    f"no frame came for {self._idle_s:g} s, the longest a stream may rest; open it again for the next"
                ) from None
            if self._stop.is_set():
                return False  # not accepted: the client sends it elsewhere
            in_flight.put_nowait(number, frame)
            number += 1


class _InFlight(Generic[Frame, Response]):
    """Queue of one stream, as `asyncio.Queue`: frames go in, their responses come out.

    `changed` is set when `get_nowait` or `empty` may have another result than before, `has_capacity` while
    `put_nowait` may be called.
    """

    def __init__(
        self,
        respond: Callable[[int, Frame], Coroutine[Any, Any, Response]],
        supersedable: Callable[[Frame], bool],
        superseded: Callable[[int, Frame], Response],
    ) -> None:
        self.changed = asyncio.Event()
        self.has_capacity = asyncio.Event()
        self.has_capacity.set()
        self._respond = respond
        self._supersedable = supersedable
        self._make_superseded = superseded
        self._started: deque[asyncio.Task[Response]] = deque()
        self._waiting: tuple[int, Frame] | None = None
        self._superseded: deque[Response] = deque()
        self._taken_from: deque[Any] = self._superseded

    def empty(self) -> bool:
        """Whether every frame has had its response."""
        return not self._started and self._waiting is None and not self._superseded

    def put_nowait(self, number: int, frame: Frame) -> None:
        """Start a frame or let it wait, superseding the one that waits."""
        if self._waiting is not None:
            self._superseded.append(self._make_superseded(*self._waiting))
            self.changed.set()
        self._start_or_wait(number, frame)
        self._update_capacity()

    def get_nowait(self) -> Response:
        """Next response to write. It keeps its place until `task_done`.

        Raises:
            asyncio.QueueEmpty: the oldest started frame has no response yet, and none was superseded.
        """
        if self._started and self._started[0].done():
            self._taken_from = self._started
            return self._started[0].result()
        if self._superseded:
            self._taken_from = self._superseded
            return self._superseded[0]
        raise asyncio.QueueEmpty

    def task_done(self) -> None:
        """Free the place of the response that was got last: it is written."""
        self._taken_from.popleft()
        if self._waiting is not None:
            self._start_or_wait(*self._waiting)
        self._update_capacity()

    def cancel(self) -> None:
        """Cancel every frame: nobody waits for the responses any more."""
        for task in self._started:
            task.cancel()
            task.add_done_callback(_retrieve)
        self._started.clear()
        self._waiting = None

    def _start_or_wait(self, number: int, frame: Frame) -> None:
        if len(self._started) >= (_MAX_STARTED_NEWEST if self._supersedable(frame) else _MAX_STARTED):
            self._waiting = (number, frame)
            return
        self._waiting = None
        task = asyncio.create_task(self._respond(number, frame))
        task.add_done_callback(lambda _: self.changed.set())
        self._started.append(task)

    def _update_capacity(self) -> None:
        """There is capacity for a frame that can be started, or can take the place of the one that waits."""
        may_replace = self._waiting is None or self._supersedable(self._waiting[1])
        if may_replace and len(self._superseded) < _MAX_SUPERSEDED:
            self.has_capacity.set()
        else:
            self.has_capacity.clear()


def _client_gone(reader: asyncio.Task[bool]) -> bool:
    if not reader.done() or reader.cancelled():
        return False
    error = reader.exception()
    return error is not None and not isinstance(error, GeminiFusionError)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the outcome of a cancelled task, or asyncio logs that nobody did."""
    if not task.cancelled():
        task.exception()
