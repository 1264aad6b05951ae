"""Ctrl-C and termination as a wish that is granted between two steps, where the state is whole."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# torchrun hands on what the terminal has sent its processes already: the same key pressed, not a second one
_ECHO_S = 1.0


class Interruption:
    """Whether somebody wants the run to end."""

    def __init__(self) -> None:
        self.requested = False
        self._first_s = 0.0

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested and number == signal.SIGINT and now - self._first_s > _ECHO_S:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._first_s = True, now


@contextmanager
def noted_interruption() -> Iterator[Interruption]:
    """Take note of SIGINT and SIGTERM instead of dying; a second Ctrl-C is a KeyboardInterrupt at once.

    Outside the main thread, where Python allows no handlers, nothing is noted.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption._note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
