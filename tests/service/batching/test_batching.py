"""The threads around the queue: real ones, and no sleeping but to wait for them."""

import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for

import pytest

from geminifusion_service.batching.batcher import Batcher
from geminifusion_service.errors import EngineFailedError, EngineLostError, NotReadyError


class Engine:
    """Doubles its items; blocks while `gate` is closed; fails on what it is told to fail on."""

    def __init__(self, *, poison=(), broken=(), lost=()):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.runs: list[list[int]] = []
        self.prepared: list[list[int]] = []
        self.instances: set[int] = set()
        self._poison, self._broken, self._lost = poison, broken, lost

    def __call__(self, batch):
        self.prepared.append(batch)
        return lambda instance: self.run(batch, instance)

    def run(self, batch, instance):
        self.runs.append(batch)
        self.instances.add(instance)
        self.entered.set()
        assert self.gate.wait(10)
        if set(batch) & set(self._lost):
            raise EngineLostError("gone")
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
    with pytest.raises(EngineFailedError) as failure:
        bad.result(10)
    assert "poison" not in str(failure.value)


def test_an_engine_that_answers_the_wrong_number_fails_its_items(batcher_for):
    batcher = batcher_for(lambda _batch: lambda _instance: [])
    with pytest.raises(EngineFailedError):
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
    assert all(isinstance(future.exception(0), EngineFailedError) for future in [running, *queued])
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
        def run(_instance):
            now[0] += 2.0
            return batch

        return run

    batcher = Batcher(slow, max_batch=lambda _key: 1, capacity=4, clock=lambda: now[0])
    futures = [batcher.submit("k", item) for item in (1, 2)]  # before the thread runs
    batcher.start()
    first, second = (future.result(10) for future in futures)
    assert batcher.close(10)
    assert (first.arrival, first.started, first.ended) == (10.0, 10.0, 12.0)
    assert (second.arrival, second.started, second.ended) == (10.0, 12.0, 14.0)
    assert batcher.retry_after_s() == 1


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come about in 10 s")


def test_a_lost_engine_fails_its_batch_with_a_retryable_error_and_runs_the_next(batcher_for):
    engine = Engine(lost=[2])
    batcher = batcher_for(engine, max_batch=3)
    _, futures = fill_behind_a_running_batch(batcher, engine, [1, 2, 3, 4])
    engine.gate.set()
    assert all(isinstance(future.exception(10), EngineLostError) for future in futures[:3])
    assert futures[3].result(10).result == 8
    assert engine.runs == [[100], [1, 2, 3], [4]]


def test_a_full_batch_is_prepared_while_the_engine_is_busy(batcher_for):
    engine = Engine()
    batcher = batcher_for(engine, max_batch=2)
    _, futures = fill_behind_a_running_batch(batcher, engine, [1, 2, 3])
    until(lambda: [1, 2] in engine.prepared)
    assert engine.runs == [[100]]
    assert batcher.depth == 3
    engine.gate.set()
    assert [future.result(10).result for future in futures] == [2, 4, 6]
    assert engine.prepared == [[100], [1, 2], [3]]


def test_a_batch_that_cannot_be_prepared_ahead_is_tried_item_by_item(batcher_for):
    engine = Engine()

    def prepare(batch):
        if len(batch) > 1:
            raise MemoryError("too many")
        return engine(batch)

    batcher = batcher_for(prepare, max_batch=2)
    _, futures = fill_behind_a_running_batch(batcher, engine, [1, 2])
    engine.gate.set()
    assert [future.result(10).result for future in futures] == [2, 4]


def test_instances_that_are_free_share_one_queue(batcher_for):
    engine = Engine()
    engine.gate.clear()
    batcher = batcher_for(engine, max_batch=1, num_instances=2)
    futures = [batcher.submit("k", item) for item in range(6)]
    until(lambda: len(engine.runs) == 2)
    assert engine.instances == {0, 1}
    engine.gate.set()
    assert [future.result(10).result for future in futures] == [0, 2, 4, 6, 8, 10]


def test_one_dead_instance_of_two_leaves_the_other_serving(batcher_for):
    engine = Engine(broken=[13])
    batcher = batcher_for(engine, max_batch=1, num_instances=2)
    with pytest.raises(EngineFailedError):
        batcher.submit("k", 13).result(10)
    assert batcher.submit("k", 1).result(10).result == 2
    assert batcher.alive
    with pytest.raises(EngineFailedError):
        batcher.submit("k", 13).result(10)
    until(lambda: not batcher.alive)


def test_items_submitted_together_run_together(batcher_for):
    engine = Engine()
    batcher = batcher_for(engine)
    for _ in range(20):  # an idle engine must not start with the first of them alone
        futures = batcher.submit_together("k", [1, 2])
        assert [future.result(10).batch_size for future in futures] == [2, 2]


def test_each_instance_is_told_its_number_on_its_own_thread(batcher_for):
    told = {}
    batcher_for(Engine(), num_instances=3, on_start=lambda number: told.setdefault(number, threading.get_ident()))
    until(lambda: len(told) == 3)
    assert len(set(told.values())) == 3
