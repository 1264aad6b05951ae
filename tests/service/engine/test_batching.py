"""The batcher: policy with a clock that stands still, the thread with real threads and no sleeping."""

import threading
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for

import pytest

from geminifusion_service.engine.batching import Batch, Batcher, BatchQueue, Entry
from geminifusion_service.errors import DeadlineExceededError, EngineError, NotReadyError, QueueFullError


def queue(*, max_batch=4, max_wait_s=0.0, capacity=8):
    return BatchQueue(max_batch=lambda _key: max_batch, max_wait_s=max_wait_s, capacity=capacity)


def put(into, item, *, key="k", arrival=0.0, deadline=None):
    entry = Entry(key=key, item=item, arrival=arrival, deadline=deadline)
    into.put(entry)
    return entry


def items(taken):
    assert isinstance(taken, Batch)
    return [entry.item for entry in taken.entries]


def test_an_empty_queue_has_no_batch():
    assert queue().take(0.0, more_expected=True) is None


def test_a_batch_keeps_the_order_of_arrival_and_the_limit():
    waiting = queue(max_batch=3)
    for item in range(5):
        put(waiting, item)
    assert items(waiting.take(0.0, more_expected=False)) == [0, 1, 2]
    assert items(waiting.take(0.0, more_expected=False)) == [3, 4]


def test_items_of_different_keys_never_share_a_batch():
    waiting = queue()
    for item, key in enumerate("abab"):
        put(waiting, item, key=key)
    assert items(waiting.take(0.0, more_expected=False)) == [0, 2]
    assert items(waiting.take(0.0, more_expected=False)) == [1, 3]


def test_the_wait_counts_from_the_first_item_of_the_batch():
    waiting = queue(max_wait_s=0.010)
    put(waiting, 0, arrival=1.000)
    put(waiting, 1, arrival=1.009)
    assert waiting.take(1.009, more_expected=True) == pytest.approx(0.001)
    assert items(waiting.take(1.010, more_expected=True)) == [0, 1]


def test_nobody_waits_when_nothing_more_is_expected():
    waiting = queue(max_wait_s=10.0)
    put(waiting, 0)
    assert items(waiting.take(0.0, more_expected=False)) == [0]


def test_without_a_maximum_wait_the_engine_takes_what_there_is():
    waiting = queue(max_wait_s=0.0)
    put(waiting, 0)
    assert items(waiting.take(0.0, more_expected=True)) == [0]


def test_a_full_batch_goes_at_once_even_past_an_older_item_that_waits():
    waiting = queue(max_batch=2, max_wait_s=1.0)
    put(waiting, 0, key="lonely")
    put(waiting, 1, key="pair")
    put(waiting, 2, key="pair")
    assert items(waiting.take(0.0, more_expected=True)) == [1, 2]


def test_a_full_queue_refuses_at_once_and_says_when_to_retry():
    waiting = queue(capacity=1)
    put(waiting, 0)
    with pytest.raises(QueueFullError) as refused:
        waiting.put(Entry(key="k", item=1, arrival=0.0), retry_after_s=7)
    assert refused.value.retry_after_s == 7


def test_an_item_nobody_waits_for_makes_room_and_is_never_run():
    waiting = queue(capacity=1)
    put(waiting, 0).future.cancel()
    put(waiting, 1)
    assert items(waiting.take(0.0, more_expected=False)) == [1]


def test_an_item_past_its_deadline_fails_and_is_never_run():
    waiting = queue()
    late = put(waiting, 0, deadline=5.0)
    put(waiting, 1, deadline=6.0)
    assert items(waiting.take(5.0, more_expected=False)) == [1]
    assert isinstance(late.future.exception(0), DeadlineExceededError)


class Engine:
    """Doubles its items; blocks while `gate` is closed; fails on what it is told to fail on."""

    def __init__(self, *, poison=(), broken=()):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.runs: list[list[int]] = []
        self._poison, self._broken = poison, broken

    def __call__(self, batch):
        self.runs.append(batch)
        self.entered.set()
        assert self.gate.wait(10)
        if set(batch) & set(self._broken):
            raise SystemExit
        if set(batch) & set(self._poison):
            raise ValueError("poison")
        return [2 * item for item in batch]


@pytest.fixture
def batcher_for():
    started = []

    def start(engine, *, max_batch=4, capacity=16, **options):
        batcher = Batcher(engine, max_batch=lambda _key: max_batch, capacity=capacity, **options)
        batcher.start()
        started.append((batcher, engine))
        return batcher

    yield start
    for batcher, engine in started:
        if isinstance(engine, Engine):
            engine.gate.set()
        assert batcher.close(10)


def fill_behind_a_running_batch(batcher, engine, queued):
    """Submit one item, and the rest while the engine is busy with it."""
    engine.gate.clear()
    first = batcher.submit("k", 100)
    assert engine.entered.wait(10)
    return first, [batcher.submit("k", item) for item in queued]


def test_what_arrives_while_the_engine_is_busy_runs_together(batcher_for):
    engine = Engine()
    batcher = batcher_for(engine)
    _, futures = fill_behind_a_running_batch(batcher, engine, [1, 2, 3])
    engine.gate.set()
    finished = [future.result(10) for future in futures]
    assert [one.result for one in finished] == [2, 4, 6]
    assert [one.batch_size for one in finished] == [3, 3, 3]
    assert engine.runs == [[100], [1, 2, 3]]


def test_a_failed_batch_is_run_again_item_by_item(batcher_for):
    engine = Engine(poison=[2])
    batcher = batcher_for(engine)
    _, (one, bad, three) = fill_behind_a_running_batch(batcher, engine, [1, 2, 3])
    engine.gate.set()
    assert one.result(10).result == 2
    assert three.result(10).result == 6
    with pytest.raises(EngineError) as failure:
        bad.result(10)
    assert "poison" not in str(failure.value)


def test_an_engine_that_answers_the_wrong_number_fails_its_items(batcher_for):
    batcher = batcher_for(lambda _batch: [])
    with pytest.raises(EngineError):
        batcher.submit("k", 1).result(10)


def test_a_cancelled_item_never_reaches_the_engine(batcher_for):
    engine = Engine()
    batcher = batcher_for(engine)
    _, (gone, kept) = fill_behind_a_running_batch(batcher, engine, [1, 2])
    assert gone.cancel()
    engine.gate.set()
    assert kept.result(10).result == 4
    assert engine.runs == [[100], [2]]
    with pytest.raises(CancelledError):
        gone.result(0)


def test_a_dying_engine_thread_fails_its_requests_and_takes_no_more(batcher_for):
    engine = Engine(broken=[100])
    batcher = batcher_for(engine)
    running, queued = fill_behind_a_running_batch(batcher, engine, [1, 2])
    engine.gate.set()
    wait_for([running, *queued], timeout=10)
    assert all(isinstance(future.exception(0), EngineError) for future in [running, *queued])
    with pytest.raises(NotReadyError):
        batcher.submit("k", 3)
    assert not batcher.alive


def test_closing_finishes_the_queue_and_refuses_more(batcher_for):
    engine = Engine()
    batcher = batcher_for(engine)
    first, futures = fill_behind_a_running_batch(batcher, engine, [1, 2])
    closer = threading.Thread(target=batcher.close)
    closer.start()
    engine.gate.set()
    closer.join(10)
    assert [future.result(0).result for future in [first, *futures]] == [200, 2, 4]
    with pytest.raises(NotReadyError):
        batcher.submit("k", 3)


def test_closing_out_of_time_fails_what_is_queued_instead_of_leaving_it(batcher_for):
    engine = Engine()
    batcher = batcher_for(engine)
    running, (queued,) = fill_behind_a_running_batch(batcher, engine, [1])
    assert not batcher.close(0)
    with pytest.raises(NotReadyError):
        queued.result(0)
    engine.gate.set()
    assert running.result(10).result == 200


def test_a_waiting_item_runs_when_what_was_expected_does_not_come(batcher_for):
    expected = threading.Event()
    expected.set()
    batcher = batcher_for(Engine(), max_wait_s=3600, more_expected=expected.is_set)
    future = batcher.submit("k", 1)
    expected.clear()
    batcher.expectation_changed()
    assert future.result(10).result == 2


def test_queue_and_compute_times_are_told_apart(batcher_for):
    now = [10.0]

    def slow(batch):
        now[0] += 2.0
        return batch

    batcher = Batcher(slow, max_batch=lambda _key: 1, capacity=4, clock=lambda: now[0])
    futures = [batcher.submit("k", item) for item in (1, 2)]  # before the thread runs
    batcher.start()
    first, second = (future.result(10) for future in futures)
    assert batcher.close(10)
    assert (first.queue_s, first.compute_s) == (0.0, 2.0)
    assert (second.queue_s, second.compute_s) == (2.0, 2.0)
    assert batcher.retry_after_s() == 1
