"""How far a long run is, on standard error: one line that is written over, or now and then a line of a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

_TERMINAL_S, _LOG_S = 0.2, 10.0  # between two lines


class Progress:
    """Counts frames and shows the count, the rate and the time that is left; threads may share it.

    Args:
        total: number of frames; None if unknown.
        write: where the lines go.
        is_terminal: whether a line may be written over.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        total: int | None,
        *,
        write: Callable[[str], object] = sys.stderr.write,
        is_terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._write, self._clock = total, write, clock
        self._is_terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
        self._begun = self._shown = clock()
        self._done = self._skipped = 0
        self._turn = threading.Lock()

    def step(self, *, skipped: bool = False) -> None:
        """A frame is done; one that was skipped says nothing about the rate."""
        with self._turn:
            self._done += 1
            self._skipped += skipped
            now = self._clock()
            if now - self._shown < (_TERMINAL_S if self._is_terminal else _LOG_S):
                return
            self._shown = now
            line = progress_line(self._done, self._skipped, self._total, now - self._begun)
            self._write(f"\r{line}\033[K" if self._is_terminal else f"{line}\n")

    def end(self) -> None:
        """Clear the line."""
        if self._is_terminal:
            self._write("\r\033[K")


def progress_line(done: int, skipped: int, total: int | None, seconds: float) -> str:
    """The state in words.

    Args:
        done: number of frames, with those that were skipped.
        skipped: number of frames that an earlier run had done.
        total: number of frames; None if unknown.
        seconds: since the start.
    """
    count = f"{done} frames" if total is None else f"{done}/{total} frames"
    if done == skipped or seconds <= 0:
        return count
    rate = (done - skipped) / seconds
    if total is None:
        return f"{count}, {rate:.1f} per second"
    left = max(0, round((total - done) / rate))
    return f"{count}, {rate:.1f} per second, {left // 60}:{left % 60:02d} left"
