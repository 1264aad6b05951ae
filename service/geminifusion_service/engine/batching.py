"""Dynamic batching: many callers, one engine.

Knows items, keys, time and capacity; neither images nor HTTP. Items of one key may run together.

`BatchQueue` is the policy, a plain object that is told the time. `Batcher` is the thread around it: an
engine call blocks for milliseconds to seconds and releases the GIL, so it needs a thread anyway; when that
thread also picks the next batch, there is no hand-over between a scheduler and the engine, nothing polls,
and a busy event loop cannot delay a batch. Results go back through futures.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from geminifusion_service.errors import (
    DeadlineExceededError,
    EngineError,
    NotReadyError,
    QueueFullError,
    ServiceError,
)

_log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Finished(Generic[Result]):
    """One result and what it took, in seconds. `batch_size` counts the items of the run it came from."""

    result: Result
    queue_s: float
    compute_s: float
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[Key, Item, Result]):
    """One queued item. Times are of the batcher's clock."""

    key: Key
    item: Item
    arrival: float
    deadline: float | None = None
    future: Future[Finished[Result]] = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True)
class Batch(Generic[Key, Item, Result]):
    """Entries of one key, in order of arrival."""

    entries: list[Entry[Key, Item, Result]]


class BatchQueue(Generic[Key, Item, Result]):
    """Which entries run next. Not thread-safe: the batcher holds its lock around every call."""

    def __init__(self, *, max_batch: Callable[[Key], int], max_wait_s: float, capacity: int) -> None:
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._capacity = capacity
        self._entries: list[Entry[Key, Item, Result]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry[Key, Item, Result], *, retry_after_s: int = 1) -> None:
        """Queue an entry.

        Raises:
            QueueFullError: at once, when `capacity` entries that somebody still waits for are queued.
        """
        if len(self._entries) >= self._capacity:
            self._entries = [queued for queued in self._entries if not queued.future.cancelled()]
        if len(self._entries) >= self._capacity:
            raise QueueFullError(
                f"{self._capacity} requests are queued, which is all this server holds; try again in {retry_after_s} s",
                retry_after_s=retry_after_s,
            )
        self._entries.append(entry)

    def take(self, now: float, *, more_expected: bool) -> Batch[Key, Item, Result] | float | None:
        """The next batch, or seconds until there is one, or None when the queue is empty.

        The oldest entry decides. Its batch goes when it is full, when nothing more is expected, or when the
        maximum wait, counted from that oldest entry, is over; until then a full batch of another key may go
        first.
        """
        self._drop_unwanted(now)
        if not self._entries:
            return None
        groups: dict[Key, list[Entry[Key, Item, Result]]] = {}
        for entry in self._entries:
            groups.setdefault(entry.key, []).append(entry)
        oldest = self._entries[0]
        due = oldest.arrival + self._max_wait_s
        if not more_expected or now >= due:
            return self._remove(groups[oldest.key][: self._max_batch(oldest.key)])
        for key, entries in groups.items():
            limit = self._max_batch(key)
            if len(entries) >= limit:
                return self._remove(entries[:limit])
        return due - now

    def clear(self) -> list[Entry[Key, Item, Result]]:
        """Empty the queue and return what was in it."""
        entries, self._entries = self._entries, []
        return entries

    def _remove(self, taken: list[Entry[Key, Item, Result]]) -> Batch[Key, Item, Result]:
        gone = {id(entry) for entry in taken}
        self._entries = [entry for entry in self._entries if id(entry) not in gone]
        return Batch(entries=taken)

    def _drop_unwanted(self, now: float) -> None:
        kept = []
        for entry in self._entries:
            if entry.future.cancelled():
                continue
            if entry.deadline is not None and now >= entry.deadline:
                _fail(entry, DeadlineExceededError("the deadline passed while the request was queued"))
                continue
            kept.append(entry)
        self._entries = kept


class Batcher(Generic[Key, Item, Result]):
    """Runs queued items in batches on a thread of its own.

    Args:
        run: takes items of one key and returns as many results in the same order.
        max_batch: the most items of a key to run together, at least 1.
        max_wait_s: see `BatchQueue.take`.
        capacity: the most items queued; the next one is refused.
        more_expected: whether other items are on their way; without any, nobody is made to wait for company.
        on_batch: told the size of each batch that ran and its seconds.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        *,
        max_batch: Callable[[Key], int],
        max_wait_s: float = 0.0,
        capacity: int,
        more_expected: Callable[[], bool] = lambda: False,
        on_batch: Callable[[int, float], None] = lambda _size, _seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._queue: BatchQueue[Key, Item, Result] = BatchQueue(
            max_batch=max_batch, max_wait_s=max_wait_s, capacity=capacity
        )
        self._more_expected = more_expected
        self._on_batch = on_batch
        self._clock = clock
        self._changed = threading.Condition()
        self._closing = False
        self._dead = False
        self._item_s = 0.0  # smoothed engine seconds per item, for Retry-After
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Start the engine thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether items are being run: started, not closed, and the engine thread has not died."""
        return self._thread.is_alive() and not self._dead

    @property
    def depth(self) -> int:
        """Items queued now."""
        return len(self._queue)

    def submit(self, key: Key, item: Item, *, deadline: float | None = None) -> Future[Finished[Result]]:
        """Queue an item; cancel the future when nobody waits for it any more.

        Args:
            key: items of equal key may run together.
            item: handed to `run`.
            deadline: on the batcher's clock; after it the item is not run any more.

        Raises:
            QueueFullError: the queue is full.
            NotReadyError: the batcher is closing, or its thread has died.
        """
        entry: Entry[Key, Item, Result] = Entry(key=key, item=item, arrival=self._clock(), deadline=deadline)
        with self._changed:
            if self._closing or self._dead:
                raise NotReadyError("the engine is stopping; send the request to another server")
            self._queue.put(entry, retry_after_s=self.retry_after_s())
            self._changed.notify()
        return entry.future

    def retry_after_s(self) -> int:
        """Whole seconds after which the queue of now will have been worked off; at least 1."""
        return max(1, math.ceil(len(self._queue) * self._item_s))

    def expectation_changed(self) -> None:
        """Look again: an item that was expected will not come."""
        with self._changed:
            self._changed.notify()

    def close(self, timeout_s: float | None = None) -> bool:
        """Accept nothing more, finish the queue, and stop. Returns whether the queue was finished in time.

        What is still queued after `timeout_s` fails with NotReadyError; a run that never returns is
        abandoned.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        finished = not self._thread.is_alive()
        with self._changed:
            left = self._queue.clear()
        for entry in left:
            _fail(entry, NotReadyError("the server stopped before this request was run; send it again"))
        return finished

    def _work(self) -> None:
        batch: list[Entry[Key, Item, Result]] = []
        try:
            while True:
                next_batch = self._next_batch()
                if next_batch is None:
                    return
                batch = next_batch
                self._run_batch(batch)
                batch = []  # or the last batch's images would live until the next
        except BaseException:
            # Nobody runs the queue after this; a request left in it would wait for ever.
            _log.exception("the engine thread died")
            with self._changed:
                self._dead = True
                batch = batch + self._queue.clear()
            for entry in batch:
                _fail(entry, EngineError("the engine stopped; send the request again"))

    def _next_batch(self) -> list[Entry[Key, Item, Result]] | None:
        """Wait for a batch; None when closing and done."""
        with self._changed:
            while True:
                expected = self._more_expected() and not self._closing
                taken = self._queue.take(self._clock(), more_expected=expected)
                if isinstance(taken, Batch):
                    # From here on a cancel comes too late; one that came first is skipped.
                    running = [e for e in taken.entries if e.future.set_running_or_notify_cancel()]
                    if running:
                        return running
                    continue
                if taken is None and self._closing:
                    return None
                self._changed.wait(taken)

    def _run_batch(self, entries: list[Entry[Key, Item, Result]]) -> None:
        started = self._clock()
        try:
            results = self._checked_run([entry.item for entry in entries])
        except Exception as error:
            if len(entries) > 1:
                _log.warning("a batch of %d failed (%s); running its items one by one", len(entries), error)
                for entry in entries:
                    self._run_batch([entry])
                return
            _log.exception("the engine failed")
            _fail(entries[0], EngineError("the engine failed on this request; report it with the request id"))
            return
        compute_s = self._clock() - started
        per_item = compute_s / len(entries)
        self._item_s = per_item if self._item_s == 0 else 0.8 * self._item_s + 0.2 * per_item
        self._on_batch(len(entries), compute_s)
        for entry, result in zip(entries, results, strict=True):
            entry.future.set_result(
                Finished(
                    result=result,
                    queue_s=started - entry.arrival,
                    compute_s=compute_s,
                    batch_size=len(entries),
                )
            )

    def _checked_run(self, items: list[Item]) -> Sequence[Result]:
        results = self._run(items)
        if len(results) != len(items):
            raise RuntimeError(f"{len(items)} items went in and {len(results)} results came out")
        return results


def _fail(entry: Entry[Key, Item, Result], error: ServiceError) -> None:
    if entry.future.cancelled() or entry.future.done():
        return
    if not entry.future.running() and not entry.future.set_running_or_notify_cancel():
        return
    entry.future.set_exception(error)
