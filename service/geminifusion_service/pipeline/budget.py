"""The resource budget: what all clients together can make this server hold, whatever transport they use.

A limit on one request bounds nothing where clients decide how many there are. Each request, stream and connection has
a `Holding`, which takes from one budget as bytes arrive and before images are decoded, and gives back when the response
has left.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Literal, Self, get_args

from geminifusion_service.errors import QueueFullError

Resource = Literal["bytes", "pixels", "elements"]
RESOURCES: Final[tuple[Resource, ...]] = get_args(Resource)
ELEMENT_BYTES: Final = 40  # of a number in JSON: the Python object, and its place in a list

# What is on its way may take its time for this long; after that it gives way to others that need its share, or clients
# that send a byte a second would hold everything.
GRACE_S = 1.0
# A request with at most this share of the pixels does not wait behind larger ones: a quarter more is there for them.
_SMALL_SHARE, _EXTRA_FOR_SMALL = 16, 4


class ResourceBudget:
    """Counts what is held of each resource. Thread-safe, except that bytes are taken in the event loop.

    What would exceed a limit is rejected, unless nothing else is held: a single request is taken whatever its size,
    which its own limits bound.

    Args:
        bytes, pixels, elements: most of each resource; None for no limit.
    """

    def __init__(
        self,
        *,
        bytes: int | None = None,
        pixels: int | None = None,
        elements: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits: dict[Resource, int | None] = {"bytes": bytes, "pixels": pixels, "elements": elements}
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[Resource, int] = dict.fromkeys(RESOURCES, 0)
        self._most: dict[Resource, float] = dict.fromkeys(RESOURCES, 0.0)
        self._arriving: dict[Holding, float] = {}  # since when, oldest first
        self._waiting: tuple[deque[_Waiting], deque[_Waiting]] = (deque(), deque())  # for many pixels, and for few

    def limit(self, resource: Resource) -> int | None:
        """How much all holdings may have of a resource; None for any amount."""
        return self._limits[resource]

    def held(self, resource: Resource) -> int:
        """How much all holdings have of a resource."""
        return self._held[resource]

    def recent_use(self) -> float:
        """Largest share of a limit that was held since this was last asked."""
        with self._lock:
            share = max(
                (self._most[resource] / limit for resource, limit in self._limits.items() if limit), default=0.0
            )
            self._most = {resource: float(held) for resource, held in self._held.items()}
        return share

    def open(self) -> Holding:
        """A holding that holds nothing yet; close it."""
        return Holding(self)

    def check(self, *, bytes: int, promised: int = 0) -> None:
        """Reject what is only announced.

        Args:
            bytes: of the request in question.
            promised: bytes that others have announced and that are on their way.

        Raises:
            QueueFullError: so many bytes more would exceed the limit.
        """
        limit = self._limits["bytes"]
        if limit is None or self._held["bytes"] + promised == 0:
            return
        if not self._has_room("bytes", bytes + promised) or (promised and promised + bytes > limit):
            raise self._full("bytes", bytes, promised)

    def _take(self, holding: Holding, resource: Resource, amount: int) -> None:
        with self._lock:
            limit = self._limits[resource]
            # The usual case first: bytes are taken for every piece of a body.
            if limit is None or self._held[resource] + amount <= limit or self._fits(holding, resource, amount):
                self._add(holding, resource, amount)
                return
        if resource == "bytes" and self._has_room(resource, amount, beside=holding):
            with self._lock:
                self._add(holding, resource, amount)
            return
        raise self._full(resource, amount)

    async def _take_pixels_when_free(self, holding: Holding, amount: int) -> None:
        waiting = self._waiting[self._is_small(amount)]
        with self._lock:
            if not waiting and self._fits(holding, "pixels", amount):
                self._add(holding, "pixels", amount)
                return
            freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (holding, amount, freed)
            waiting.append(entry)
        try:
            await freed
        except BaseException:
            with self._lock:
                if entry in waiting:
                    waiting.remove(entry)
                self._serve_waiting()
            raise

    def _settle(self, holding: Holding, resource: Resource, amount: int) -> None:
        with self._lock:
            self._add(holding, resource, amount - holding.amounts[resource])
            self._serve_waiting()

    def _fits(self, holding: Holding | None, resource: Resource, amount: int) -> bool:
        limit, held = self._limits[resource], self._held[resource]
        if limit is None:
            return True
        if resource == "pixels" and self._is_small(amount):
            limit += limit // _EXTRA_FOR_SMALL
        of_others = held - (holding.amounts[resource] if holding is not None else 0)
        return of_others <= 0 or held + amount <= limit

    def _is_small(self, pixels: int) -> bool:
        limit = self._limits["pixels"]
        return limit is not None and pixels * _SMALL_SHARE <= limit

    def _add(self, holding: Holding, resource: Resource, amount: int) -> None:
        holding.amounts[resource] += amount
        self._held[resource] = held = self._held[resource] + amount
        if held > self._most[resource]:
            self._most[resource] = held

    def _serve_waiting(self) -> None:
        """Give pixels to those that wait for them, in order: a large request is not passed for ever by others."""
        for waiting in self._waiting:
            while waiting:
                holding, amount, freed = waiting[0]
                if not self._fits(holding, "pixels", amount):
                    break
                waiting.popleft()
                self._add(holding, "pixels", amount)
                freed.get_loop().call_soon_threadsafe(_wake, freed)

    def _has_room(self, resource: Resource, amount: int, *, beside: Holding | None = None) -> bool:
        """Whether the amount fits, if need be once those have given up that arrive too slowly, largest first."""
        if self._fits(beside, resource, amount):
            return True
        late = self._clock() - GRACE_S
        slow = [one for one, since in self._arriving.items() if since <= late and one is not beside]
        for holding in sorted(slow, key=lambda one: one.amounts["bytes"], reverse=True):
            if not holding.amounts["bytes"]:
                return False
            holding.give_up(self._full(resource, amount))
            if self._fits(beside, resource, amount):
                return True
        return False

    def _full(self, resource: Resource, amount: int, promised: int = 0) -> QueueFullError:
        held, limit = self._held[resource] + promised, self._limits[resource]
        what = "bodies" if resource == "bytes" else "requests"
        return QueueFullError(
            f"{what} of {held} {resource} are in flight and this one has {amount}; this server holds {limit}; "
            "try again in 1 s"
        )


class Holding:
    """What one request, stream or connection holds of a budget. A context manager, which gives all of it back."""

    def __init__(self, budget: ResourceBudget) -> None:
        self.amounts: dict[Resource, int] = dict.fromkeys(RESOURCES, 0)
        self._budget = budget
        self._is_closed = False
        self._on_give_up: Callable[[QueueFullError], None] | None = None

    def take(self, *, bytes: int = 0, pixels: int = 0, elements: int = 0) -> None:
        """Hold more.

        Args:
            bytes: as they arrive. From the event loop: others that arrive too slowly may have to give up.
            pixels: of images, before they are decoded.
            elements: of arrays in JSON, before they are parsed, and of what else becomes arrays of numbers; each
                stands for `ELEMENT_BYTES`.

        Raises:
            QueueFullError: it would exceed the limit; what was held before still is.
        """
        if self._is_closed:
            return
        if bytes:
            self._budget._take(self, "bytes", bytes)
        if pixels:
            self._budget._take(self, "pixels", pixels)
        if elements:
            self._budget._take(self, "elements", elements)

    async def take_pixels_when_free(self, pixels: int) -> None:
        """Hold more pixels as soon as they are free; first come, first served, among those with few and with many."""
        if pixels and not self._is_closed:
            await self._budget._take_pixels_when_free(self, pixels)

    def settle(self, **amounts: int) -> None:
        """Hold exactly so much of the named resources, whatever the limit: it is there already."""
        for resource, amount in amounts.items():
            if not self._is_closed and self.amounts[resource] != amount:  # type: ignore[index]  # a Resource each
                self._budget._settle(self, resource, amount)  # type: ignore[arg-type]

    def close(self) -> None:
        """Give everything back; of no effect the second time."""
        if not self._is_closed:
            self.settle(**dict.fromkeys(RESOURCES, 0))
            self.end_arrival()
            self._is_closed = True

    def begin_arrival(self, give_up: Callable[[QueueFullError], None]) -> None:
        """From now on this arrives, and after a grace period may have to make room for others.

        Args:
            give_up: called in the event loop with the error for the client; what was held has been given back.
        """
        self._on_give_up = give_up
        self._budget._arriving.setdefault(self, self._budget._clock())

    def end_arrival(self) -> None:
        """All of it is there: it does not have to give up any more."""
        self._on_give_up = None
        self._budget._arriving.pop(self, None)

    @contextmanager
    def arriving(self, give_up: Callable[[QueueFullError], None]) -> Iterator[None]:
        """`begin_arrival`, and `end_arrival` at the end of the block."""
        self.begin_arrival(give_up)
        try:
            yield
        finally:
            self.end_arrival()

    def give_up(self, error: QueueFullError) -> None:
        """Give the bytes back and tell whoever receives them."""
        on_give_up = self._on_give_up
        self.close()
        if on_give_up is not None:
            on_give_up(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


_Waiting = tuple[Holding, int, asyncio.Future[None]]


def _wake(freed: asyncio.Future[None]) -> None:
    if not freed.done():
        freed.set_result(None)
