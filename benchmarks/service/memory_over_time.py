"""The memory of a server over minutes, and whether it stays flat.

Under changing load memory rises and falls by more than it could leak, so that growth is looked for in the floor: the
least that was held again and again.
"""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from typing import Self

from process_figures import charged_bytes

_PAUSE_S = 0.03
_WINDOWS = 30  # of the whole time, each with a floor
_FLOOR = 0.1  # of a window's samples are below it
MOST_GROWTH = 0.05  # of the floor, over the second half


@dataclass(frozen=True, kw_only=True)
class Minute:
    """What was seen in one minute, in bytes."""

    floor: float
    median: float
    most: float


class MemoryOverTime:
    """Reads the memory of a process and its children, as a container counts it, until the block ends."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: list[tuple[float, int]] = []  # seconds since the start, bytes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def most(self) -> int:
        """Most bytes of all samples."""
        return max(size for _, size in self._samples)

    @property
    def minutes(self) -> list[Minute]:
        """One for each minute; seconds beyond the last whole one are no minute."""
        count = max(1, round(self._seconds / 60))
        groups = [[size for at, size in self._samples if at // 60 == minute] for minute in range(count)]
        return [
            Minute(floor=_floor(sizes), median=statistics.median(sizes), most=max(sizes)) for sizes in groups if sizes
        ]

    def slope(self) -> tuple[float, float]:
        """Bytes a minute by which the floor rises in the second half, and how much of the floor that makes in it."""
        length = self._seconds / _WINDOWS
        floors: list[tuple[float, float]] = []
        for window in range(_WINDOWS // 2, _WINDOWS):
            sizes = [size for at, size in self._samples if window * length <= at < (window + 1) * length]
            if sizes:
                floors.append(((window + 0.5) * length / 60, _floor(sizes)))
        minutes, sizes_of_floor = zip(*floors, strict=True)
        line = statistics.linear_regression(minutes, sizes_of_floor)
        return line.slope, line.slope * self._seconds / 120 / statistics.fmean(sizes_of_floor)

    @property
    def _seconds(self) -> float:
        return self._samples[-1][0]

    def _read(self) -> None:
        begin = time.monotonic()
        while True:
            self._samples.append((time.monotonic() - begin, charged_bytes(self._pid)))
            if self._stop.wait(_PAUSE_S):
                return


def _floor(sizes: list[int]) -> float:
    return float(sorted(sizes)[int(_FLOOR * len(sizes))])
