"""Admission control: whether to take a request on, decided on its headers and before its body is read.

A server that reads the bodies it then rejects spends an overload on receiving.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from geminifusion_runtime.types import Priority
from geminifusion_service.errors import DeadlineExceededError, QueueFullError
from geminifusion_service.pipeline.budget import GRACE_S, Holding, ResourceBudget
from geminifusion_service.pipeline.pace import Pace

# Where others need its place or its room, a body that is behind gives them up before its grace period is over: after
# this, if less of it has come than would make it complete in time, and after the second, if its size is not known.
_PATIENCE_S, _PATIENCE_UNSIZED_S = 0.1, 0.25
# Of a body of which nothing has come, at most this share of all bytes is kept free; then as much as has come of it.
_PROMISED_SHARE = 64
_RESERVED_SHARE = 8  # one place more for every eight, for requests of high priority only


def capacity_for(priority: Priority, max_requests: int) -> int:
    """Most requests in flight before one of this priority is rejected: high priority has an eighth more."""
    reserve = -(-max_requests // _RESERVED_SHARE) if priority == "high" else 0
    return max_requests + reserve


@dataclass(kw_only=True, eq=False)
class Ticket:
    """One admitted request. `arrival` and `deadline` are in seconds of `time.monotonic`."""

    arrival: float  # of its headers
    deadline: float | None = None
    holding: Holding  # what it holds of the budget
    announced_bytes: int = 0  # by its headers
    in_flight: bool = False  # its body is complete
    recorded: bool = False  # telemetry has its outcome, or will


class AdmissionControl:
    """Counts the requests in flight and what they hold, and rejects what exceeds the limits. Use from one event loop.

    A body on its way keeps its place, and some room for what is still to come of it, for a grace period, and only while
    it is on time where others need them. A slower one holds what has come of it and needs a free place once it is
    complete, or clients that announce a body and send nothing would keep all others out.

    Args:
        capacity: most requests in flight before one of this priority is rejected.
        max_bytes, max_pixels, max_elements: of the resource budget; None for no limit.
        expected_wait_s: seconds until the engine has run so many requests.
    """

    def __init__(
        self,
        *,
        capacity: Callable[[Priority], int],
        max_bytes: int,
        expected_wait_s: Callable[[int], float],
        max_pixels: int | None = None,
        max_elements: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._expected_wait_s = expected_wait_s
        self._clock = clock
        self._least_promised = max_bytes // _PROMISED_SHARE
        self._arriving: dict[Ticket, None] = {}  # those that keep their place, oldest first
        self._num_in_flight = 0
        self._pace = Pace()
        self.budget = ResourceBudget(bytes=max_bytes, pixels=max_pixels, elements=max_elements, clock=clock)

    @property
    def num_in_flight(self) -> int:
        """Requests whose bodies are complete and that have no response yet."""
        return self._num_in_flight

    @property
    def bytes_held(self) -> int:
        """Bytes that requests, streams and connections hold."""
        return self.budget.held("bytes")

    def check(self, *, body_bytes: int = 0, deadline_ms: float | None = None, priority: Priority = "normal") -> None:
        """Reject a request on its headers.

        Args:
            body_bytes: as the headers announce them; 0 if they do not.
            deadline_ms: how long the client waits, from now.
            priority: high may use the reserve.

        Raises:
            DeadlineExceededError: the deadline has passed.
            QueueFullError: too many requests or bytes, or the deadline would pass while the request is queued.
        """
        if deadline_ms is not None and deadline_ms <= 0:
            raise DeadlineExceededError("the deadline had passed when the request came; allow more time")
        self._forget_late()
        capacity = self._capacity(priority)
        if self._num_in_flight + len(self._arriving) >= capacity:
            self._forget_those_behind()
            if (taken := self._num_in_flight + len(self._arriving)) >= capacity:
                raise self._full(f"{taken} requests are in flight, which is all this server takes")
        try:
            self.budget.check(bytes=body_bytes, promised=self._promised_bytes())
        except QueueFullError:
            self._forget_those_behind()
            self.budget.check(bytes=body_bytes, promised=self._promised_bytes())
        wait_s = self._wait_s()
        if deadline_ms is not None and 1000 * wait_s > deadline_ms:
            raise self._full(f"about {1000 * wait_s:.0f} ms of work are queued, more than deadline_ms={deadline_ms:g}")

    @contextmanager
    def hold(self, *, body_bytes: int = 0, in_flight: bool = False, holding: Holding | None = None) -> Iterator[Ticket]:
        """Hold a place for a request that was just checked, from its headers until its response.

        Args:
            body_bytes: as in `check`.
            in_flight: the body is already complete, and this its size: `start` is not needed.
            holding: what its transport has taken for it and gives back; by default one of its own.
        """
        with nullcontext(holding) if holding is not None else self.budget.open() as held:
            ticket = Ticket(arrival=self._clock(), holding=held, announced_bytes=body_bytes, in_flight=in_flight)
            if in_flight:
                held.settle(bytes=body_bytes)
                self._begin()
            else:
                self._arriving[ticket] = None
            try:
                yield ticket
            finally:
                if ticket.in_flight:
                    self._end(ticket)
                else:
                    self._arriving.pop(ticket, None)

    def start(self, ticket: Ticket, *, body_bytes: int, priority: Priority = "normal") -> None:
        """Count a request as in flight: its body is complete.

        Args:
            body_bytes: actual size of what came; where its transport holds more for it, that counts.
            priority: as in `check`.

        Raises:
            QueueFullError: the body took so long that its place was given away.
        """
        keeps_place = ticket in self._arriving and ticket.arrival > self._clock() - GRACE_S
        if not keeps_place and self._num_in_flight >= self._capacity(priority):
            raise self._full(f"{self._num_in_flight} requests are in flight, which is all this server takes")
        ticket.holding.end_arrival()
        ticket.holding.settle(bytes=max(body_bytes, ticket.holding.amounts["bytes"]))
        self._arriving.pop(ticket, None)
        ticket.in_flight = True
        self._begin()

    def _begin(self) -> None:
        if not self._num_in_flight:
            self._pace.begin(self._clock())
        self._num_in_flight += 1

    def _end(self, ticket: Ticket) -> None:
        self._num_in_flight -= 1
        now = self._clock()
        if ticket.deadline is None or now < ticket.deadline:
            self._pace.leave(now)

    def _wait_s(self) -> float:
        """Seconds until a request that comes now would have been run: by the engine's time, or as others leave."""
        return min(self._expected_wait_s(self._num_in_flight), self._pace.expected_s(self._num_in_flight))

    def _forget_late(self) -> None:
        """Let go of the places of those whose grace period is over."""
        late = self._clock() - GRACE_S
        while self._arriving and (oldest := next(iter(self._arriving))).arrival <= late:
            del self._arriving[oldest]

    def _forget_those_behind(self) -> None:
        now = self._clock()
        for ticket in [one for one in self._arriving if _is_behind(one, now - one.arrival)]:
            del self._arriving[ticket]

    def _promised_bytes(self) -> int:
        """Bytes that are kept free for those on their way."""
        promised = 0
        for ticket in self._arriving:
            came = ticket.holding.amounts["bytes"]
            promised += min(max(0, ticket.announced_bytes - came), max(came, self._least_promised))
        return promised

    def _full(self, why: str) -> QueueFullError:
        retry_after_s = max(1, round(self._wait_s()))
        return QueueFullError(f"{why}; try again in {retry_after_s} s", retry_after_s=retry_after_s)


def _is_behind(ticket: Ticket, age_s: float) -> bool:
    if not ticket.announced_bytes:
        return age_s >= _PATIENCE_UNSIZED_S
    came = ticket.holding.amounts["bytes"]
    return age_s >= _PATIENCE_S and came < ticket.announced_bytes * age_s / GRACE_S
