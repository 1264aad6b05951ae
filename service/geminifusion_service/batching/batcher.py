"""The batcher: many callers, one queue, one thread for each engine instance.

An engine call blocks for milliseconds to seconds and releases the GIL, so it needs a thread anyway; when that thread
also takes the next batch, there is no hand-over between a scheduler and the engine, nothing polls, and a busy event
loop cannot delay a batch. Idle instances take from the same queue, so the least loaded one gets the next batch without
any counting of loads. Results go back through futures.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic

from geminifusion_service.batching.batch_queue import Batch, BatchQueue, Entry, Finished, Item, Key, Result
from geminifusion_service.errors import EngineFailedError, EngineLostError, NotReadyError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Job(Generic[Key, Item, Result]):
    """A batch that was taken from the queue; `prepared` where that happens ahead of its turn, on another thread."""

    entries: list[Entry[Key, Item, Result]]
    prepared: Future[Callable[[int], Sequence[Result]]] | None = None


class Batcher(Generic[Key, Item, Result]):
    """Runs queued items in batches, each engine instance on a thread of its own.

    Args:
        prepare: takes items of one key, makes a batch of them (stacking copies megabytes) and returns what runs it: a
            function of the instance's number that gives as many results, in the same order. While every instance is
            busy, a full batch is prepared on another thread, so that the next run starts at once.
        max_batch: most items of a key to run together, at least 1.
        max_wait_s: longest that an item waits for others to share its batch; see `BatchQueue.take`.
        capacity: most items queued; the next one is rejected.
        num_instances: number of engine instances, each with a thread.
        on_start: called with the instance's number on its thread, before anything else.
        more_expected: whether other items are on their way; if none are, no item waits for others.
        on_batch: called with the size of each batch that ran, and its seconds.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        prepare: Callable[[list[Item]], Callable[[int], Sequence[Result]]],
        *,
        max_batch: Callable[[Key], int],
        max_wait_s: float = 0.0,
        capacity: int,
        num_instances: int = 1,
        on_start: Callable[[int], None] = lambda _instance: None,
        more_expected: Callable[[], bool] = lambda: False,
        on_batch: Callable[[int, float], None] = lambda _size, _seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prepare = prepare
        self._queue: BatchQueue[Key, Item, Result] = BatchQueue(
            max_batch=max_batch, max_wait_s=max_wait_s, capacity=capacity
        )
        self._on_start = on_start
        self._more_expected = more_expected
        self._on_batch = on_batch
        self._clock = clock
        self._changed = threading.Condition()
        self._closing = False
        self._num_idle = 0
        self._num_dead = 0
        self._prepared_ahead: deque[_Job[Key, Item, Result]] = deque()
        self._item_s = 0.0  # smoothed engine seconds per item, to predict waiting
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="stack")
        self._threads = [
            threading.Thread(target=self._work, args=(instance,), name=f"engine-{instance}", daemon=True)
            for instance in range(num_instances)
        ]

    def start(self) -> None:
        """Start the engine threads."""
        for thread in self._threads:
            thread.start()

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return self._threads[0].ident is not None

    @property
    def alive(self) -> bool:
        """Whether items are being run: started, not closed, and not every engine thread has died."""
        return self._num_dead < len(self._threads) and any(thread.is_alive() for thread in self._threads)

    @property
    def depth(self) -> int:
        """Items queued now."""
        return len(self._queue) + sum(len(job.entries) for job in self._prepared_ahead)

    def submit(
        self, key: Key, item: Item, *, deadline: float | None = None, urgent: bool = False
    ) -> Future[Finished[Result]]:
        """Queue one item; see `submit_together`."""
        return self.submit_together(key, [item], deadline=deadline, urgent=urgent)[0]

    def submit_together(
        self, key: Key, items: Sequence[Item], *, deadline: float | None = None, urgent: bool = False
    ) -> list[Future[Finished[Result]]]:
        """Queue items side by side, so that they share a batch unless it is full.

        Cancel a future when nobody waits for it any more.

        Args:
            key: items of equal key may run together.
            items: arguments of `prepare`.
            deadline: on the batcher's clock; items that are still queued then fail.
            urgent: queued with a head start, see `BatchQueue`.

        Raises:
            QueueFullError: the queue is full; none was queued.
            NotReadyError: the batcher is closing, or its threads have died.
        """
        arrival = self._clock()
        entries: list[Entry[Key, Item, Result]] = [
            Entry(key=key, item=item, arrival=arrival, deadline=deadline, urgent=urgent) for item in items
        ]
        with self._changed:
            if self._closing or self._num_dead == len(self._threads):
                raise NotReadyError("the engine is stopping; send the request to another server")
            self._queue.put(entries, retry_after_s=self.retry_after_s())
            self._wake_or_prepare_ahead()
        return [entry.future for entry in entries]

    def expected_wait_s(self, num_items: int) -> float:
        """Seconds until this many items will have been run, as estimated from those that ran before."""
        return num_items * self._item_s / len(self._threads)

    def retry_after_s(self) -> int:
        """Whole seconds after which what is queued now will have been run; at least 1."""
        return max(1, math.ceil(self.expected_wait_s(self.depth)))

    def expectation_changed(self) -> None:
        """Look at the queue again: an expected item has arrived, or never will."""
        with self._changed:
            if self._num_idle:
                self._changed.notify_all()

    def close(self, timeout_s: float | None = None) -> bool:
        """Accept no more, run what is queued, and stop; whether all of it was run in time.

        What is still queued after `timeout_s` fails with NotReadyError; a run that never returns is
        abandoned.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(None if until is None else max(0.0, until - time.monotonic()))
        finished = not any(thread.is_alive() for thread in self._threads)
        with self._changed:
            left = self._clear()
        self._preparer.shutdown(wait=False)
        for entry in left:
            entry.fail(NotReadyError("the server stopped before this request was run; send it again"))
        return finished

    def _clear(self) -> list[Entry[Key, Item, Result]]:
        left = [entry for job in self._prepared_ahead for entry in job.entries] + self._queue.clear()
        self._prepared_ahead.clear()
        return left

    def _wake_or_prepare_ahead(self) -> None:
        """Wake an idle instance; where none is idle, have a full batch prepared ahead of its turn."""
        if self._num_idle:
            self._changed.notify()
        elif len(self._prepared_ahead) < len(self._threads) and not self._closing:
            full = self._queue.take_full(self._clock())
            running = _still_wanted(full) if full is not None else []
            if running:
                prepared = self._preparer.submit(self._prepare, [entry.item for entry in running])
                self._prepared_ahead.append(_Job(entries=running, prepared=prepared))

    def _work(self, instance: int) -> None:
        job: _Job[Key, Item, Result] | None = None
        try:
            self._on_start(instance)
            while (job := self._next_job()) is not None:
                self._run_job(job, instance)
                del job  # or the last batch's images would live until the next
                job = None
        except BaseException:
            _log.exception("the thread of engine instance %d died", instance)
            left = job.entries if job is not None else []
            with self._changed:
                self._num_dead += 1
                if self._num_dead == len(self._threads):  # nobody runs the queue after this
                    left = left + self._clear()
                self._changed.notify()
            for entry in left:
                entry.fail(EngineFailedError("the engine stopped; send the request again"))

    def _next_job(self) -> _Job[Key, Item, Result] | None:
        """Wait for a batch; None when closing and done."""
        with self._changed:
            while True:
                if self._prepared_ahead:
                    job = self._prepared_ahead.popleft()
                    self._wake_or_prepare_ahead()
                    return job
                expected = self._more_expected() and not self._closing
                taken = self._queue.take(self._clock(), more_expected=expected)
                if isinstance(taken, Batch):
                    if running := _still_wanted(taken):
                        if len(self._queue):
                            self._wake_or_prepare_ahead()
                        return _Job(entries=running)
                    continue
                if taken is None and self._closing:
                    return None
                self._num_idle += 1
                self._changed.wait(taken)
                self._num_idle -= 1

    def _run_job(self, job: _Job[Key, Item, Result], instance: int) -> None:
        entries = job.entries
        started = self._clock()
        try:
            run = job.prepared.result() if job.prepared else self._prepare([entry.item for entry in entries])
            results = run(instance)
            if len(results) != len(entries):
                raise RuntimeError(f"{len(entries)} items went in and {len(results)} results came out")
        except EngineLostError as error:
            # Any of them may be what killed it: the clients decide whether to try again.
            _log.error("engine instance %d was lost with %d requests", instance, len(entries))
            for entry in entries:
                entry.fail(error)
            return
        except Exception as error:
            if len(entries) > 1:
                _log.warning("a batch of %d failed (%s); running its items one by one", len(entries), error)
                for entry in entries:
                    self._run_job(_Job(entries=[entry]), instance)
                return
            _log.exception("the engine failed")
            entries[0].fail(EngineFailedError("the engine failed on this request; report it with the request id"))
            return
        ended = self._clock()
        per_item = (ended - started) / len(entries)
        self._item_s = per_item if self._item_s == 0 else 0.8 * self._item_s + 0.2 * per_item
        self._on_batch(len(entries), ended - started)
        for entry, result in zip(entries, results, strict=True):
            entry.future.set_result(
                Finished(result=result, arrival=entry.arrival, started=started, ended=ended, batch_size=len(entries))
            )


def _still_wanted(batch: Batch[Key, Item, Result]) -> list[Entry[Key, Item, Result]]:
    """The entries that are not cancelled; from here on they cannot be any more."""
    return [entry for entry in batch.entries if entry.future.set_running_or_notify_cancel()]
