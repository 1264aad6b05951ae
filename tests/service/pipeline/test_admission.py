"""What is let in on its head, with a clock that stands still."""

from contextlib import ExitStack

import pytest

from geminifusion_service.errors import DeadlineExceededError, QueueFullError
from geminifusion_service.pipeline.admission import Admission


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def admission(*, requests=2, most_bytes=1000, item_s=0.0, clock=None):
    return Admission(
        most_requests=requests,
        most_bytes=most_bytes,
        expected_wait_s=lambda count: count * item_s,
        clock=clock or Clock(),
    )


def let_in(door, stack, *, body_bytes=0):
    door.check(body_bytes=body_bytes)
    return stack.enter_context(door.hold(body_bytes=body_bytes))


def test_a_body_on_its_way_keeps_its_place():
    door = admission(requests=2)
    with ExitStack() as held:
        for _ in range(2):
            let_in(door, held)
        with pytest.raises(QueueFullError, match="2 requests"):
            door.check()
    door.check()


def test_a_slow_body_loses_its_place_to_others_and_is_refused_when_it_has_come():
    clock = Clock()
    door = admission(requests=1, clock=clock)
    with ExitStack() as held:
        slow = let_in(door, held)
        clock.now += 1.5
        quick = let_in(door, held)
        door.begin(quick, body_bytes=10)
        with pytest.raises(QueueFullError):
            door.begin(slow, body_bytes=10)
    assert door.num_working == 0
    assert door.bytes_held == 0


def test_a_slow_body_is_worked_on_if_there_is_room():
    clock = Clock()
    door = admission(requests=1, clock=clock)
    with ExitStack() as held:
        slow = let_in(door, held)
        clock.now += 60
        door.begin(slow, body_bytes=10)
        assert door.num_working == 1


def test_high_priority_has_a_reserve_of_an_eighth():
    door = admission(requests=10)
    with ExitStack() as held:
        for _ in range(10):
            let_in(door, held)
        with pytest.raises(QueueFullError):
            door.check()
        for _ in range(2):
            door.check(priority="high")
            held.enter_context(door.hold())
        with pytest.raises(QueueFullError):
            door.check(priority="high")


def test_bodies_are_limited_by_their_bytes_together_but_one_is_let_in_whatever_its_size():
    door = admission(requests=9, most_bytes=1000)
    with ExitStack() as held:
        let_in(door, held, body_bytes=5000)
        with pytest.raises(QueueFullError, match="bodies of 5000 bytes"):
            door.check(body_bytes=1)
    door.check(body_bytes=1)


def test_the_bytes_that_came_count_where_the_head_said_nothing():
    door = admission(requests=9, most_bytes=1000)
    with ExitStack() as held:
        ticket = let_in(door, held)
        door.begin(ticket, body_bytes=900)
        with pytest.raises(QueueFullError):
            door.check(body_bytes=200)
    assert door.bytes_held == 0


def test_a_request_whose_deadline_would_pass_in_the_queue_is_refused_at_once():
    door = admission(requests=99, item_s=0.1)
    with ExitStack() as held:
        for _ in range(20):
            door.begin(let_in(door, held), body_bytes=0)
        door.check(deadline_ms=3000)
        with pytest.raises(QueueFullError, match="about 2000 ms of work are queued, more than deadline_ms=500") as full:
            door.check(deadline_ms=500)
        assert full.value.retry_after_s == 2


def test_a_deadline_that_has_passed_is_told_as_such():
    with pytest.raises(DeadlineExceededError):
        admission().check(deadline_ms=0)
