"""Which entries run next, with a clock that stands still."""

import pytest

from geminifusion_service.batching.batch_queue import Batch, BatchQueue, Entry
from geminifusion_service.errors import DeadlineExceededError, QueueFullError


def queue(*, max_batch=4, max_wait_s=0.0, capacity=8, head_start_s=1.0):
    return BatchQueue(
        max_batch=lambda _key: max_batch, max_wait_s=max_wait_s, capacity=capacity, head_start_s=head_start_s
    )


def put(into, item, *, key="k", arrival=0.0, deadline=None, urgent=False):
    entry = Entry(key=key, item=item, arrival=arrival, deadline=deadline, urgent=urgent)
    into.put([entry])
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
        waiting.put([Entry(key="k", item=1, arrival=0.0)], retry_after_s=7)
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


def test_entries_put_together_are_all_refused_when_one_does_not_fit():
    waiting = queue(capacity=2)
    put(waiting, 0)
    with pytest.raises(QueueFullError):
        waiting.put([Entry(key="k", item=item, arrival=0.0) for item in (1, 2)])
    assert items(waiting.take(0.0, more_expected=False)) == [0]


def test_an_urgent_item_goes_before_ordinary_ones_that_came_earlier():
    waiting = queue(max_batch=1)
    put(waiting, "ordinary", arrival=5.0)
    put(waiting, "urgent", arrival=5.5, urgent=True)
    put(waiting, "urgent too", key="other", arrival=5.6, urgent=True)
    order = [items(waiting.take(6.0, more_expected=False))[0] for _ in range(3)]
    assert order == ["urgent", "urgent too", "ordinary"]


def test_a_stream_of_urgent_items_holds_an_ordinary_one_up_for_the_head_start_and_no_longer():
    waiting = queue(max_batch=1, capacity=32, head_start_s=1.0)
    put(waiting, "ordinary", arrival=0.0)
    for tenth in range(10, 30):
        put(waiting, tenth, arrival=tenth / 20, urgent=True)  # twice as many as are run
    order = [items(waiting.take(2.0, more_expected=False))[0] for _ in range(21)]
    assert order == [*range(10, 20), "ordinary", *range(20, 30)]


def test_urgent_and_ordinary_items_of_one_key_share_a_batch():
    waiting = queue()
    put(waiting, 0)
    put(waiting, 1, urgent=True)
    assert items(waiting.take(0.0, more_expected=False)) == [1, 0]


def test_only_a_full_batch_whose_turn_it_is_is_taken_ahead():
    waiting = queue(max_batch=2)
    put(waiting, 0, key="lonely", arrival=0.0)
    for item in (1, 2, 3):
        put(waiting, item, key="pair", arrival=1.0)
    assert waiting.take_full(2.0) is None
    assert items(waiting.take(2.0, more_expected=False)) == [0]
    assert items(waiting.take_full(2.0)) == [1, 2]
    assert waiting.take_full(2.0) is None
    assert len(waiting) == 1


def test_a_batch_that_would_not_be_full_without_the_abandoned_is_not_taken_ahead():
    waiting = queue(max_batch=2)
    put(waiting, 0).future.cancel()
    put(waiting, 1)
    assert waiting.take_full(0.0) is None
    assert items(waiting.take(0.0, more_expected=False)) == [1]


def test_batches_of_one_are_never_taken_ahead():
    waiting = queue(max_batch=1)
    put(waiting, 0)
    assert waiting.take_full(0.0) is None
