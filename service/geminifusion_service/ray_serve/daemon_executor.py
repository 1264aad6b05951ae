"""An executor with one daemon thread, for calls that must share a thread which does not end, and may never return."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonExecutor(Executor):
    """Runs one call after the other on one thread, until the process ends and without keeping it from ending.

    Ray asks Linux to end its processes with their parent, which to Linux is the thread that started them: Ray would be
    killed as soon as a thread made for starting it had ended. The threads of a ThreadPoolExecutor last, but the
    interpreter waits for them before it exits.
    """

    def __init__(self, thread_name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=thread_name, daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call. Cancelling its future is of no effect once it has begun."""
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def _run(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except Exception as error:
                    future.set_exception(error)
            del future, call  # or the last result would live until the next call
