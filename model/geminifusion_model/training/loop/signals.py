"""Ctrl-C and SIGTERM, deferred until between two steps, where the training state is consistent."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# torchrun forwards the signal that the terminal has sent its processes already: the same key press, not a second one
_ECHO_S = 1.0


class Interruption:
    """Whether the run has been asked to end (`requested`)."""

    def __init__(self) -> None:
        self.requested = False
        self._first_s = 0.0

    def _record(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested and number == signal.SIGINT and now - self._first_s > _ECHO_S:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._first_s = True, now


@contextmanager
def deferred_interruption() -> Iterator[Interruption]:
    """Record SIGINT and SIGTERM instead of dying; a second Ctrl-C is a KeyboardInterrupt at once.

    Outside the main thread, where Python allows no handlers, nothing is deferred.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption._record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
