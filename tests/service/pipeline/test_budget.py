"""What all holdings may have together, with a clock that is set by hand; V08, V14."""

import asyncio

import pytest

from geminifusion_service.errors import QueueFullError
from geminifusion_service.pipeline.budget import ResourceBudget


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_what_exceeds_the_limit_is_rejected_and_what_is_closed_is_given_back():
    budget = ResourceBudget(bytes=1000, elements=10)
    with budget.open() as first, budget.open() as second:
        first.take(bytes=600, elements=5)
        with pytest.raises(
            QueueFullError, match="600 bytes are in flight and this one has 500; this server holds 1000"
        ):
            second.take(bytes=500)
        with pytest.raises(QueueFullError, match="5 elements"):
            second.take(elements=6)
        second.take(bytes=400)
        assert budget.held("bytes") == 1000
    assert budget.held("bytes") == budget.held("elements") == 0
    first.take(bytes=5)  # closed: of no effect
    assert budget.held("bytes") == 0


def test_a_single_holding_may_have_as_much_as_it_needs():
    budget = ResourceBudget(bytes=1000)
    with budget.open() as only:
        only.take(bytes=900)
        only.take(bytes=900)


def test_what_arrives_slowly_gives_way_to_others_after_a_second_the_largest_first():
    clock = Clock()
    budget, given_up = ResourceBudget(bytes=1000, clock=clock), []
    small, large, quick = budget.open(), budget.open(), budget.open()
    for name, holding, size in (("small", small, 300), ("large", large, 700)):
        holding.begin_arrival(lambda error, name=name: given_up.append((name, str(error))))
        holding.take(bytes=size)
    with pytest.raises(QueueFullError):
        quick.take(bytes=100)
    clock.now += 1.1
    quick.take(bytes=100)
    assert [name for name, _ in given_up] == ["large"]
    assert budget.held("bytes") == 400
    large.take(bytes=10**6)  # what still comes of it counts nowhere: its receiver was told to stop
    assert budget.held("bytes") == 400


def test_what_has_arrived_gives_way_to_nobody():
    clock = Clock()
    budget = ResourceBudget(bytes=1000, clock=clock)
    holding = budget.open()
    with holding.arriving(lambda _: pytest.fail("it has arrived")):
        holding.take(bytes=1000)
    clock.now += 9
    with pytest.raises(QueueFullError):
        budget.open().take(bytes=1)


async def test_pixels_are_waited_for_in_order():
    budget, order = ResourceBudget(pixels=100), []

    async def one(name, pixels):
        with budget.open() as holding:
            await holding.take_pixels_when_free(pixels)
            order.append(name)
            await asyncio.sleep(0.01)

    await asyncio.gather(one("a", 80), one("b", 90), one("c", 10), one("huge", 500), one("d", 10))
    assert order == ["a", "b", "c", "huge", "d"]
    assert budget.held("pixels") == 0


async def test_a_request_of_few_pixels_does_not_wait_behind_larger_ones():
    budget = ResourceBudget(pixels=160)
    large, larger, small, smaller = budget.open(), budget.open(), budget.open(), budget.open()
    await large.take_pixels_when_free(160)
    waits = asyncio.create_task(larger.take_pixels_when_free(100))
    for holding in (small, smaller):
        for _ in range(2):
            await asyncio.wait_for(holding.take_pixels_when_free(10), 1)
    assert budget.held("pixels") == 200
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(small.take_pixels_when_free(10), 0.05)
    large.close()
    small.close()
    await asyncio.wait_for(waits, 1)


async def test_who_stops_waiting_for_pixels_lets_the_next_in():
    budget = ResourceBudget(pixels=100)
    first, second, third = budget.open(), budget.open(), budget.open()
    await first.take_pixels_when_free(60)
    waits = asyncio.create_task(second.take_pixels_when_free(90))
    behind = asyncio.create_task(third.take_pixels_when_free(30))
    await asyncio.sleep(0)
    assert not waits.done()
    assert not behind.done()
    waits.cancel()
    await asyncio.wait_for(behind, 1)
    assert budget.held("pixels") == 90
