"""Admission control: whether to take a request on, decided on its headers and before its body is read.

A server that reads the bodies it then rejects spends an overload on receiving.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from geminifusion_runtime.types import Priority
from geminifusion_service.errors import DeadlineExceededError, QueueFullError

# A body on its way keeps its place for this long; a slower one needs a free place once it is complete, or clients that
# send a byte a second would take every place.
_PLACE_KEPT_S = 1.0
_RESERVED_SHARE = 8  # one place more for every eight, for requests of high priority only


def capacity_for(priority: Priority, max_requests: int) -> int:
    """Most requests in flight before one of this priority is rejected: high priority has an eighth more."""
    reserve = -(-max_requests // _RESERVED_SHARE) if priority == "high" else 0
    return max_requests + reserve


@dataclass(kw_only=True, eq=False)
class Ticket:
    """One admitted request. `arrival` is when its headers came, in seconds of `time.monotonic`."""

    arrival: float
    body_bytes: int
    in_flight: bool = False  # its body is complete
    recorded: bool = False  # telemetry has its outcome, or will


class AdmissionControl:
    """Counts the requests and bytes in flight, and rejects what exceeds them. Use from one event loop.

    Args:
        capacity: most requests in flight before one of this priority is rejected.
        max_bytes: of all admitted bodies, those on their way included; a single body is admitted whatever its size.
        expected_wait_s: seconds until the engine has run so many requests.
    """

    def __init__(
        self,
        *,
        capacity: Callable[[Priority], int],
        max_bytes: int,
        expected_wait_s: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._expected_wait_s = expected_wait_s
        self._clock = clock
        self._arriving: set[Ticket] = set()
        self._num_in_flight = 0
        self._bytes = 0

    @property
    def num_in_flight(self) -> int:
        """Requests whose bodies are complete and that have no response yet."""
        return self._num_in_flight

    @property
    def bytes_held(self) -> int:
        """Bytes of the bodies of all admitted requests."""
        return self._bytes

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
        recent = self._clock() - _PLACE_KEPT_S
        taken = self._num_in_flight + sum(ticket.arrival > recent for ticket in self._arriving)
        if taken >= self._capacity(priority):
            raise self._full(f"{taken} requests are in flight, which is all this server takes")
        if self._bytes and self._bytes + body_bytes > self._max_bytes:
            raise self._full(
                f"bodies of {self._bytes} bytes are in flight and this one has {body_bytes}; "
                f"this server holds {self._max_bytes}"
            )
        wait_s = self._expected_wait_s(self._num_in_flight)
        if deadline_ms is not None and 1000 * wait_s > deadline_ms:
            raise self._full(f"about {1000 * wait_s:.0f} ms of work are queued, more than deadline_ms={deadline_ms:g}")

    @contextmanager
    def hold(self, *, body_bytes: int = 0, in_flight: bool = False) -> Iterator[Ticket]:
        """Hold a place for a request that was just checked, from its headers until its response.

        Args:
            body_bytes: as in `check`.
            in_flight: the body is already complete, and this its size: `start` is not needed.
        """
        ticket = Ticket(arrival=self._clock(), body_bytes=body_bytes, in_flight=in_flight)
        if in_flight:
            self._num_in_flight += 1
        else:
            self._arriving.add(ticket)
        self._bytes += body_bytes
        try:
            yield ticket
        finally:
            self._bytes -= ticket.body_bytes
            if ticket.in_flight:
                self._num_in_flight -= 1
            else:
                self._arriving.discard(ticket)

    def start(self, ticket: Ticket, *, body_bytes: int, priority: Priority = "normal") -> None:
        """Count a request as in flight: its body is complete.

        Args:
            body_bytes: actual size of the body.
            priority: as in `check`.

        Raises:
            QueueFullError: the body took so long that its place was given away.
        """
        late = ticket.arrival <= self._clock() - _PLACE_KEPT_S
        if late and self._num_in_flight >= self._capacity(priority):
            raise self._full(f"{self._num_in_flight} requests are in flight, which is all this server takes")
        self._bytes += body_bytes - ticket.body_bytes
        ticket.body_bytes = body_bytes
        self._arriving.discard(ticket)
        ticket.in_flight = True
        self._num_in_flight += 1

    def _full(self, why: str) -> QueueFullError:
        retry_after_s = max(1, round(self._expected_wait_s(self._num_in_flight)))
        return QueueFullError(f"{why}; try again in {retry_after_s} s", retry_after_s=retry_after_s)
