"""What the server takes on, decided when the head of a request has come and before its body is read.

A server that reads the bodies it then refuses spends its overload on receiving: peers lose most of their throughput so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from geminifusion_runtime.types import Priority
from geminifusion_service.errors import DeadlineExceededError, QueueFullError

# A body on its way keeps a place for this long; a slower one must find a place again when it is all there, or clients
# that send a byte a second would keep everybody out.
_PLACE_KEPT_S = 1.0
_RESERVE = 8  # one place in so many again, which only requests of high priority get


@dataclass(kw_only=True, eq=False)
class Ticket:
    """One request that was let in. `arrival` is when its head came, in seconds of `time.monotonic`."""

    arrival: float
    body_bytes: int
    working: bool = False  # its body is all there
    recorded: bool = False  # what came of it is in the logs


class Admission:
    """Counts requests and bytes, and says no. Use from one event loop.

    Args:
        most_requests: worked on at once; requests of high priority get an eighth more.
        most_bytes: of bodies at once, those on their way included; a single body is let in whatever its size.
        expected_wait_s: seconds until the engine has worked off so many requests.
    """

    def __init__(
        self,
        *,
        most_requests: int,
        most_bytes: int,
        expected_wait_s: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self._expected_wait_s = expected_wait_s
        self._clock = clock
        self._arriving: set[Ticket] = set()
        self._num_working = 0
        self._bytes = 0

    @property
    def num_working(self) -> int:
        """Requests whose bodies have come and that are not yet answered."""
        return self._num_working

    @property
    def bytes_held(self) -> int:
        """Of the bodies of all that were let in."""
        return self._bytes

    def limit(self, priority: Priority) -> int:
        """The most requests worked on at once before one of this priority is refused."""
        reserve = -(-self._most_requests // _RESERVE) if priority == "high" else 0
        return self._most_requests + reserve

    def check(self, *, body_bytes: int = 0, deadline_ms: float | None = None, priority: Priority = "normal") -> None:
        """Refuse a request on its head.

        Args:
            body_bytes: as its head announces them; 0 if it does not.
            deadline_ms: how long the client waits, from now.
            priority: high may use the reserve.

        Raises:
            DeadlineExceededError: the deadline has passed.
            QueueFullError: too many requests or bytes, or the deadline would pass while the request is queued.
        """
        if deadline_ms is not None and deadline_ms <= 0:
            raise DeadlineExceededError("the deadline had passed when the request came; allow more time")
        recent = self._clock() - _PLACE_KEPT_S
        taken = self._num_working + sum(ticket.arrival > recent for ticket in self._arriving)
        if taken >= self.limit(priority):
            raise self._full(f"{taken} requests are being worked on, which is all this server takes")
        if self._bytes and self._bytes + body_bytes > self._most_bytes:
            raise self._full(
                f"bodies of {self._bytes} bytes are being worked on and this one has {body_bytes}; "
                f"this server holds {self._most_bytes}"
            )
        wait_s = self._expected_wait_s(self._num_working)
        if deadline_ms is not None and 1000 * wait_s > deadline_ms:
            raise self._full(f"about {1000 * wait_s:.0f} ms of work are queued, more than deadline_ms={deadline_ms:g}")

    @contextmanager
    def hold(self, *, body_bytes: int = 0) -> Iterator[Ticket]:
        """A place for a request that was just checked, from its head until it is answered."""
        ticket = Ticket(arrival=self._clock(), body_bytes=body_bytes)
        self._arriving.add(ticket)
        self._bytes += body_bytes
        try:
            yield ticket
        finally:
            self._bytes -= ticket.body_bytes
            if ticket.working:
                self._num_working -= 1
            else:
                self._arriving.discard(ticket)

    def begin(self, ticket: Ticket, *, body_bytes: int, priority: Priority = "normal") -> None:
        """The body is all there.

        Args:
            body_bytes: what it really has.
            priority: as in `check`.

        Raises:
            QueueFullError: it took so long that its place was given away.
        """
        late = ticket.arrival <= self._clock() - _PLACE_KEPT_S
        if late and self._num_working >= self.limit(priority):
            raise self._full(f"{self._num_working} requests are being worked on, which is all this server takes")
        self._bytes += body_bytes - ticket.body_bytes
        ticket.body_bytes = body_bytes
        self._arriving.discard(ticket)
        ticket.working = True
        self._num_working += 1

    def _full(self, why: str) -> QueueFullError:
        retry_after_s = max(1, round(self._expected_wait_s(self._num_working)))
        return QueueFullError(f"{why}; try again in {retry_after_s} s", retry_after_s=retry_after_s)
