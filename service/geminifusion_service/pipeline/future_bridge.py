"""Results of other threads for an event loop: many of them with one wake-up.

Waking a loop costs a write to a socket and a change of threads; a batch of 32 wakes it once here, where
`asyncio.wrap_future` would wake it 32 times.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class FutureBridge:
    """Lets an event loop await futures that other threads complete. Use from one event loop."""

    def __init__(self) -> None:
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._lock = threading.Lock()
        self._wake_up_is_pending = False

    async def result(self, future: Future[T]) -> T:
        """Result of a future, or its exception; cancelling this cancels the future."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        future.add_done_callback(lambda done: self._put(loop, waiter, done))
        try:
            return await waiter
        finally:
            future.cancel()  # of no effect once it is done

    def _put(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[T], done: Future[T]) -> None:
        self._done.append((waiter, done))
        with self._lock:
            if self._wake_up_is_pending:
                return
            self._wake_up_is_pending = True
        with contextlib.suppress(RuntimeError):  # the loop was closed, so nobody waits
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:  # before the queue is emptied: what comes meanwhile wakes the loop again
            self._wake_up_is_pending = False
        while self._done:
            waiter, done = self._done.popleft()
            if waiter.done():  # cancelled
                continue
            if done.cancelled():
                waiter.cancel()
            elif (error := done.exception()) is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(done.result())
