"""The frames of a stream, whatever the transport: order, back-pressure, newest frame wins, drain.

read -> started (bounded) -> answered in order -> written
     -> waiting (one frame)
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
Answer = TypeVar("Answer")

# Frames of one stream that are started and not yet written: enough to keep decoder, engine and encoder busy at once.
_STARTED = 4
# Of frames that may be superseded: one at the engine and one being decoded; each more would only be older when it ends.
_STARTED_NEWEST = 2
_NOTES = 64  # superseded frames whose notes are not yet written


class Streams:
    """The streams open now, over every transport. Use from one event loop.

    Args:
        most: open at once.
        idle_s: a stream ends when no frame has come for this long.
    """

    def __init__(self, *, most: int, idle_s: float) -> None:
        self._most = most
        self._idle_s = idle_s
        self._open: set[asyncio.Event] = set()
        self._draining = False
        self._none_open = asyncio.Event()
        self._none_open.set()

    @property
    def num_open(self) -> int:
        """Streams open now."""
        return len(self._open)

    def refuse_if_unavailable(self) -> None:
        """Refuse a stream before it is opened.

        Raises:
            NotReadyError: the server is stopping.
            QueueFullError: as many streams are open as may be.
        """
        if self._draining:
            raise NotReadyError("this server is stopping; open the stream on another one")
        if len(self._open) >= self._most:
            raise QueueFullError(
                f"{len(self._open)} streams are open, which is all this server takes; try again in 1 s",
                retry_after_s=1,
            )

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """One stream, from its head to its end.

        Raises:
            NotReadyError, QueueFullError: see `refuse_if_unavailable`.
        """
        self.refuse_if_unavailable()
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
        """Open no more; have every stream answer what it has accepted, and end. Whether all ended in time."""
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
    """One open stream. See `Streams.open`."""

    def __init__(self, stop: asyncio.Event, idle_s: float) -> None:
        self._stop = stop
        self._idle_s = idle_s

    async def answers(
        self,
        frames: AsyncIterator[Frame],
        *,
        answer: Callable[[int, Frame], Coroutine[Any, Any, Answer]],
        supersedable: Callable[[Frame], bool],
        superseded: Callable[[int, Frame], Answer],
    ) -> AsyncGenerator[Answer, None]:
        """Answer the frames, each by its number, counted from 0.

        Answers of frames that were started come in the order of the frames. A frame is read only when there is room
        for it, and there is room again when an answer has been taken and the next is asked for: a client that does not
        read, or an engine that is behind, stops the reading of frames. A frame that may be superseded and has not been
        started gives way to the next one, and is answered at once.

        Close the generator (`contextlib.aclosing`): that drops what is under way.

        Args:
            frames: ends when the client has sent its last. What it raises ends the stream at once: nobody waits for
                the answers that are left.
            answer: answers one frame; raises nothing but what should end the stream.
            supersedable: whether a newer frame may take this one's place while it has not been started.
            superseded: the answer of a frame that gave way.

        Raises:
            NotReadyError: the server is stopping; every accepted frame has been answered.
            BodyTimeoutError: no frame came for too long; every accepted frame has been answered.
        """
        work = _Work(answer, supersedable, superseded)
        reader = asyncio.create_task(self._read(frames, work))
        reader.add_done_callback(lambda _: work.changed.set())
        stopping = asyncio.create_task(self._stop.wait())
        stopping.add_done_callback(lambda _: work.changed.set())
        try:
            while True:
                if _client_gone(reader):
                    break
                if work.first_done:
                    yield work.first_answer()
                    work.first_taken()
                elif work.notes:
                    yield work.notes[0]
                    work.note_taken()
                elif work.idle and (reader.done() or self._stop.is_set()):
                    break
                else:
                    await work.changed.wait()
                    work.changed.clear()
        finally:
            stopping.cancel()
            reader.cancel()
            work.drop()
            await asyncio.gather(stopping, reader, return_exceptions=True)
        complete = not reader.cancelled() and reader.result()
        if not complete:
            raise NotReadyError("this server is stopping; send the frames that have no answer to another one")

    async def _read(self, frames: AsyncIterator[Frame], work: _Work[Frame, Answer]) -> bool:
        """Whether the client has sent its last frame."""
        number = 0
        while True:
            await work.room.wait()
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
            work.accept(number, frame)
            number += 1


class _Work(Generic[Frame, Answer]):
    """Accepted frames that are not yet answered."""

    def __init__(
        self,
        answer: Callable[[int, Frame], Coroutine[Any, Any, Answer]],
        supersedable: Callable[[Frame], bool],
        superseded: Callable[[int, Frame], Answer],
    ) -> None:
        self._answer = answer
        self._supersedable = supersedable
        self._superseded = superseded
        self._started: deque[asyncio.Task[Answer]] = deque()
        self._waiting: tuple[int, Frame] | None = None
        self.notes: deque[Answer] = deque()
        self.changed = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is left to answer."""
        return not self._started and self._waiting is None and not self.notes

    @property
    def first_done(self) -> bool:
        """Whether the oldest started frame has its answer."""
        return bool(self._started) and self._started[0].done()

    def first_answer(self) -> Answer:
        """Of the oldest started frame; it keeps its place until `first_taken`."""
        return self._started[0].result()

    def first_taken(self) -> None:
        """The answer is out."""
        self._started.popleft()
        if self._waiting is not None:
            number, frame = self._waiting
            self._waiting = None
            self._start_or_wait(number, frame)
        self._update_room()

    def note_taken(self) -> None:
        """The oldest note is out."""
        self.notes.popleft()
        self._update_room()

    def accept(self, number: int, frame: Frame) -> None:
        """Start a frame or have it wait, in the place of one that it supersedes."""
        if self._waiting is not None:
            self.notes.append(self._superseded(*self._waiting))
            self._waiting = None
            self.changed.set()
        self._start_or_wait(number, frame)
        self._update_room()

    def drop(self) -> None:
        """Nobody waits for the answers any more."""
        for task in self._started:
            task.cancel()
            task.add_done_callback(_retrieve)
        self._started.clear()
        self._waiting = None

    def _start_or_wait(self, number: int, frame: Frame) -> None:
        if len(self._started) >= (_STARTED_NEWEST if self._supersedable(frame) else _STARTED):
            self._waiting = (number, frame)
            return
        task = asyncio.create_task(self._answer(number, frame))
        task.add_done_callback(lambda _: self.changed.set())
        self._started.append(task)

    def _update_room(self) -> None:
        """There is room for a frame that finds a place, or can take that of the one waiting."""
        may_replace = self._waiting is None or self._supersedable(self._waiting[1])
        if may_replace and len(self.notes) < _NOTES:
            self.room.set()
        else:
            self.room.clear()


def _client_gone(reader: asyncio.Task[bool]) -> bool:
    if not reader.done() or reader.cancelled():
        return False
    error = reader.exception()
    return error is not None and not isinstance(error, GeminiFusionError)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the outcome of a dropped task, or asyncio logs that nobody did."""
    if not task.cancelled():
        task.exception()
