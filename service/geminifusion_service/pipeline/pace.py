"""How fast requests leave the server, whatever became of them."""

from __future__ import annotations

from collections import deque

_WINDOW = 32  # requests that the pace is taken from
_LEAST = 8  # fewer say nothing


class Pace:
    """Mean time between two requests that leave while others are in flight.

    Most of those in flight may never reach the engine: what cannot be decoded, or is another size than it says, leaves
    sooner than what is run. The engine's time for an item knows nothing of that.
    """

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=_WINDOW)
        self._since = 0.0

    def begin(self, now: float) -> None:
        """The first request is in flight, after none was; in seconds of any clock."""
        self._since = now

    def leave(self, now: float) -> None:
        """A request leaves; not to be called for one that only waited until its deadline."""
        self._intervals.append(now - self._since)
        self._since = now

    def expected_s(self, num_requests: int) -> float:
        """Seconds until so many have left; infinite until enough have."""
        if len(self._intervals) < _LEAST:
            return float("inf")
        return num_requests * sum(self._intervals) / len(self._intervals)
