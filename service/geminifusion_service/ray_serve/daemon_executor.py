"""A thread for calls that must be made on a thread which does not end, and that may never return."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class LastingThread:
    """Runs one call after the other, until the process ends and without keeping it from ending.

    Ray asks Linux to end its processes with their parent, which to Linux is the thread that started them: Ray would be
    killed as soon as a thread made for starting it was done. The threads of an event loop last, but are waited for.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """The result of `work`, in the running event loop; cancelling the future does not break it off."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def do() -> None:
            settle: Callable[[Any], None]
            outcome: Any
            try:
                settle, outcome = future.set_result, work()
            except Exception as error:
                settle, outcome = future.set_exception, error
            with contextlib.suppress(RuntimeError):  # the loop has ended, so nobody waits
                loop.call_soon_threadsafe(lambda: None if future.done() else settle(outcome))

        self._work.put(do)
        return future

    def _run(self) -> None:
        while True:
            self._work.get()()
