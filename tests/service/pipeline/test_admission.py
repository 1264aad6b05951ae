"""Admission on the headers of a request, with a clock that is set by hand; V07."""

from contextlib import ExitStack, contextmanager

import pytest

from geminifusion_service.errors import DeadlineExceededError, QueueFullError
from geminifusion_service.pipeline.admission import AdmissionControl, capacity_for


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def admission_control(*, requests=2, max_bytes=1000, item_s=0.0, clock=None):
    return AdmissionControl(
        capacity=lambda priority: capacity_for(priority, requests),
        max_bytes=max_bytes,
        expected_wait_s=lambda count: count * item_s,
        clock=clock or Clock(),
    )


def admit(control, stack, *, body_bytes=0):
    control.check(body_bytes=body_bytes)
    return stack.enter_context(control.hold(body_bytes=body_bytes))


@contextmanager
def passing(control, clock, seconds):
    """A request that is in flight for so long; its ticket."""
    with ExitStack() as stack:
        ticket = admit(control, stack)
        control.start(ticket, body_bytes=0)
        clock.now += seconds
        yield ticket


def test_a_request_whose_body_is_on_its_way_keeps_its_place():
    control = admission_control(requests=2)
    with ExitStack() as held:
        for _ in range(2):
            admit(control, held)
        with pytest.raises(QueueFullError, match="2 requests"):
            control.check()
    control.check()


def test_a_slow_body_loses_its_place_and_is_rejected_once_complete_if_no_place_is_free():
    clock = Clock()
    control = admission_control(requests=1, clock=clock)
    with ExitStack() as held:
        slow = admit(control, held)
        clock.now += 1.5
        quick = admit(control, held)
        control.start(quick, body_bytes=10)
        with pytest.raises(QueueFullError):
            control.start(slow, body_bytes=10)
    assert control.num_in_flight == 0
    assert control.bytes_held == 0


def test_a_slow_body_is_accepted_once_complete_if_a_place_is_free():
    clock = Clock()
    control = admission_control(requests=1, clock=clock)
    with ExitStack() as held:
        slow = admit(control, held)
        clock.now += 60
        control.start(slow, body_bytes=10)
        assert control.num_in_flight == 1


def test_high_priority_has_a_reserve_of_an_eighth():
    control = admission_control(requests=10)
    with ExitStack() as held:
        for _ in range(10):
            admit(control, held)
        with pytest.raises(QueueFullError):
            control.check()
        for _ in range(2):
            control.check(priority="high")
            held.enter_context(control.hold())
        with pytest.raises(QueueFullError):
            control.check(priority="high")


def test_the_bytes_of_all_bodies_are_limited_but_a_single_body_is_admitted_whatever_its_size():
    control = admission_control(requests=9, max_bytes=1000)
    with ExitStack() as held:
        large = admit(control, held, body_bytes=5000)
        control.check(body_bytes=1)  # nothing has come of it yet
        control.start(large, body_bytes=5000)
        with pytest.raises(QueueFullError, match="bodies of 5000 bytes"):
            control.check(body_bytes=1)
    control.check(body_bytes=1)


def test_the_room_that_is_kept_for_a_body_grows_with_what_has_come_of_it():
    control = admission_control(requests=9, max_bytes=6400)
    with ExitStack() as held:
        slow = admit(control, held, body_bytes=6000)
        control.check(body_bytes=6300)
        with pytest.raises(QueueFullError):
            control.check(body_bytes=6301)
        slow.holding.take(bytes=1000)
        control.check(body_bytes=4400)
        with pytest.raises(QueueFullError):
            control.check(body_bytes=4401)


def test_those_that_announce_bodies_and_send_nothing_give_their_places_to_others():
    clock = Clock()
    control = admission_control(requests=3, clock=clock)
    with ExitStack() as held:
        quick = admit(control, held, body_bytes=100)
        for _ in range(2):
            admit(control, held, body_bytes=100)
        with pytest.raises(QueueFullError, match="3 requests"):
            control.check()
        clock.now += 0.15
        quick.holding.take(bytes=20)
        for _ in range(2):
            admit(control, held, body_bytes=100)
        with pytest.raises(QueueFullError, match="3 requests"):  # the quick one has kept its place
            control.check()
        clock.now += 0.15  # now it is behind too, and needs a free place once it is complete
        for _ in range(3):
            control.start(admit(control, held, body_bytes=10), body_bytes=10)
        with pytest.raises(QueueFullError):
            control.start(quick, body_bytes=100)


def test_bodies_of_unannounced_size_keep_their_places_for_longer():
    clock = Clock()
    control = admission_control(requests=1, clock=clock)
    with ExitStack() as held:
        admit(control, held)
        clock.now += 0.2
        with pytest.raises(QueueFullError):
            control.check()
        clock.now += 0.1
        control.check()


def test_a_body_of_unannounced_size_counts_by_the_bytes_that_came():
    control = admission_control(requests=9, max_bytes=1000)
    with ExitStack() as held:
        ticket = admit(control, held)
        control.start(ticket, body_bytes=900)
        with pytest.raises(QueueFullError):
            control.check(body_bytes=200)
    assert control.bytes_held == 0


def test_a_request_whose_deadline_would_pass_in_the_queue_is_rejected_at_once():
    control = admission_control(requests=99, item_s=0.1)
    with ExitStack() as held:
        for _ in range(20):
            control.start(admit(control, held), body_bytes=0)
        control.check(deadline_ms=3000)
        with pytest.raises(QueueFullError, match="about 2000 ms of work are queued, more than deadline_ms=500") as full:
            control.check(deadline_ms=500)
        assert full.value.retry_after_s == 2


@pytest.mark.parametrize(("seconds", "waits"), [(0.02, True), (0.2, False)])
def test_requests_that_leave_without_the_engine_are_not_waited_for_as_if_it_ran_them(seconds, waits):
    clock = Clock()
    control = admission_control(requests=99, item_s=1.0, clock=clock)
    with ExitStack() as held:
        for _ in range(20):
            control.start(admit(control, held), body_bytes=0)
        for _ in range(10):
            with passing(control, clock, seconds):
                pass
        if waits:
            control.check(deadline_ms=500)
        else:
            with pytest.raises(QueueFullError, match=r"about 4000 ms of work are queued.*try again in 4 s"):
                control.check(deadline_ms=500)


def test_those_that_only_waited_until_their_deadline_do_not_make_the_wait_look_shorter():
    clock = Clock()
    control = admission_control(requests=99, item_s=1.0, clock=clock)
    with ExitStack() as held:
        for _ in range(20):
            control.start(admit(control, held), body_bytes=0)
        for _ in range(10):
            with passing(control, clock, 0.02) as ticket:
                ticket.deadline = clock.now
        with pytest.raises(QueueFullError, match="about 20000 ms of work are queued"):
            control.check(deadline_ms=500)


def test_a_deadline_that_has_passed_has_its_own_error():
    with pytest.raises(DeadlineExceededError):
        admission_control().check(deadline_ms=0)
