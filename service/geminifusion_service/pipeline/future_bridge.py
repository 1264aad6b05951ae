"""Results from engine threads to the event loop: many of them with one wake-up.

Waking a loop costs a write to a socket and a change of threads; a batch of 32 wakes it once here.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopMailbox:
    """Where a loop awaits futures that other threads fulfil. Use from one event loop."""

    def __init__(self) -> None:
        self._arrived: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._lock = threading.Lock()
        self._loop_is_coming = False

    async def result(self, future: Future[T]) -> T:
        """The result of a future, or its exception; cancelling this cancels the future."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        future.add_done_callback(lambda done: self._put(loop, waiter, done))
        try:
            return await waiter
        finally:
            future.cancel()  # of no effect once it is done

    def _put(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[T], done: Future[T]) -> None:
        self._arrived.append((waiter, done))
        with self._lock:
            if self._loop_is_coming:
                return
            self._loop_is_coming = True
        with contextlib.suppress(RuntimeError):  # the loop was closed; nobody waits any more
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:  # before the box is emptied: what comes meanwhile calls again
            self._loop_is_coming = False
        while self._arrived:
            waiter, done = self._arrived.popleft()
            if waiter.done():  # cancelled
                continue
            if done.cancelled():
                waiter.cancel()
            elif (error := done.exception()) is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(done.result())
