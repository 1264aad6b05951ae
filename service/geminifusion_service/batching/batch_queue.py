"""The queue of dynamic batching: a plain object that is told the time and says which items run next.

It knows items, keys, priorities, time and capacity; neither images nor HTTP. Items of one key may run together.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import DeadlineExceededError, QueueFullError

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Finished(Generic[Result]):
    """One result, with its times in seconds of the batcher's clock.

    `batch_size` counts the items of the run it came from.
    """

    result: Result
    arrival: float  # in the queue
    started: float  # the run, which is of the whole batch
    ended: float
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[Key, Item, Result]):
    """One queued item. Times are in seconds of the batcher's clock."""

    key: Key
    item: Item
    arrival: float
    deadline: float | None = None
    urgent: bool = False
    future: Future[Finished[Result]] = field(default_factory=Future)

    def fail(self, error: GeminiFusionError) -> None:
        """Set the exception of the future, unless it is done or cancelled."""
        if self.future.done() or not (self.future.running() or self.future.set_running_or_notify_cancel()):
            return
        self.future.set_exception(error)


@dataclass(frozen=True, kw_only=True)
class Batch(Generic[Key, Item, Result]):
    """Entries of one key, in the order of the queue."""

    entries: list[Entry[Key, Item, Result]]


class BatchQueue(Generic[Key, Item, Result]):
    """Queued entries, grouped by key. Not thread-safe: the batcher holds its lock around every call.

    Priority is a head start: an urgent entry is queued as if it had come `head_start_s` earlier than it did. So it goes
    before all ordinary ones of the last `head_start_s`, and no stream of urgent entries holds an ordinary one up for
    longer: one that has waited that long goes before every urgent entry that came after it.

    Args:
        max_batch: most entries of a key to run together, at least 1.
        max_wait_s: longest that `take` lets the first entry of a batch wait for others.
        capacity: most entries queued.
        head_start_s: seconds that an urgent entry is ahead of its arrival.
    """

    def __init__(
        self, *, max_batch: Callable[[Key], int], max_wait_s: float, capacity: int, head_start_s: float = 1.0
    ) -> None:
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._capacity = capacity
        self._head_start_s = head_start_s
        self._groups: dict[Key, list[Entry[Key, Item, Result]]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, entries: Sequence[Entry[Key, Item, Result]], *, retry_after_s: int = 1) -> None:
        """Queue entries, all or none.

        Raises:
            QueueFullError: they do not fit beside the entries that somebody still waits for.
        """
        if self._length + len(entries) > self._capacity:
            self._keep(lambda queued: not queued.future.cancelled())
        if self._length + len(entries) > self._capacity:
            raise QueueFullError(
                f"{self._length} requests are queued of {self._capacity} that this server holds; "
                f"try again in {retry_after_s} s",
                retry_after_s=retry_after_s,
            )
        for entry in entries:
            bisect.insort(self._groups.setdefault(entry.key, []), entry, key=self._rank)
        self._length += len(entries)

    def take(self, now: float, *, more_expected: bool) -> Batch[Key, Item, Result] | float | None:
        """Take the next batch; seconds until there is one, or None when the queue is empty.

        The first entry decides. Its batch goes when it is full, when nothing more is expected, or when the maximum
        wait, counted from the arrival of the oldest entry of its key, is over; until then a full batch of another key
        may go first.

        Args:
            now: on the batcher's clock.
            more_expected: whether other items are on their way to the queue.
        """
        self._drop_unwanted(now)
        first = self._first()
        if first is None:
            return None
        due = min(entry.arrival for entry in self._groups[first]) + self._max_wait_s
        if not more_expected or now >= due:
            return self._remove(first)
        for key, entries in self._groups.items():
            if len(entries) >= self._max_batch(key):
                return self._remove(key)
        return due - now

    def take_full(self, now: float) -> Batch[Key, Item, Result] | None:
        """Take the batch that is next whatever else arrives: that of the first entry, if it is full.

        A batch of one gains nothing from being prepared early, and is left.
        """
        first = self._first()
        if first is None or not 1 < self._max_batch(first) <= len(self._groups[first]):
            return None
        self._drop_unwanted(now)
        if first != self._first() or self._max_batch(first) > len(self._groups[first]):
            return None
        return self._remove(first)

    def clear(self) -> list[Entry[Key, Item, Result]]:
        """Empty the queue and return what was in it."""
        entries = [entry for group in self._groups.values() for entry in group]
        self._groups, self._length = {}, 0
        return entries

    def _rank(self, entry: Entry[Key, Item, Result]) -> float:
        return entry.arrival - self._head_start_s if entry.urgent else entry.arrival

    def _first(self) -> Key | None:
        """Key of the entry of least rank."""
        return min(self._groups, key=lambda key: self._rank(self._groups[key][0]), default=None)

    def _remove(self, key: Key) -> Batch[Key, Item, Result]:
        limit = max(1, self._max_batch(key))
        taken, left = self._groups[key][:limit], self._groups[key][limit:]
        if left:
            self._groups[key] = left
        else:
            del self._groups[key]
        self._length -= len(taken)
        return Batch(entries=taken)

    def _drop_unwanted(self, now: float) -> None:
        def wanted(entry: Entry[Key, Item, Result]) -> bool:
            if entry.deadline is not None and now >= entry.deadline:
                entry.fail(DeadlineExceededError("the deadline passed while the request was queued"))
                return False
            return not entry.future.cancelled()

        self._keep(wanted)

    def _keep(self, wanted: Callable[[Entry[Key, Item, Result]], bool]) -> None:
        kept = {key: [entry for entry in group if wanted(entry)] for key, group in self._groups.items()}
        self._groups = {key: group for key, group in kept.items() if group}
        self._length = sum(map(len, self._groups.values()))
