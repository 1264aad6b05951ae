"""Results of other threads, awaited in an event loop."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from geminifusion_service.pipeline.future_bridge import FutureBridge


class CountingLoop(asyncio.SelectorEventLoop):
    wake_ups = 0

    def call_soon_threadsafe(self, callback, *args, **options):
        self.wake_ups += 1
        return super().call_soon_threadsafe(callback, *args, **options)


def test_a_batch_of_results_wakes_the_loop_once():
    async def scenario(loop):
        bridge, futures = FutureBridge(), [Future() for _ in range(32)]
        waiting = [asyncio.create_task(bridge.result(future)) for future in futures]
        await asyncio.sleep(0)
        before = loop.wake_ups

        def fulfil():
            for number, future in enumerate(futures):
                future.set_result(number)

        engine = threading.Thread(target=fulfil)
        engine.start()
        engine.join()  # the loop is held up meanwhile, as by a busy one
        assert await asyncio.gather(*waiting) == list(range(32))
        assert loop.wake_ups - before == 1

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(scenario(runner.get_loop()))


async def test_results_of_many_threads_all_arrive():
    bridge, futures = FutureBridge(), [Future() for _ in range(400)]
    waiting = [asyncio.create_task(bridge.result(future)) for future in futures]
    await asyncio.sleep(0)
    threads = [
        threading.Thread(target=lambda part=part: [future.set_result(part) for future in futures[part::4]])
        for part in range(4)
    ]
    for thread in threads:
        thread.start()
    results = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert [results.count(part) for part in range(4)] == [100] * 4


async def test_an_exception_arrives_as_itself():
    bridge, future = FutureBridge(), Future()
    future.set_exception(ValueError("bad"))
    with pytest.raises(ValueError, match="bad"):
        await bridge.result(future)


async def test_cancelling_the_wait_cancels_a_future_that_has_not_begun():
    bridge, future = FutureBridge(), Future()
    waiting = asyncio.create_task(bridge.result(future))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert future.cancelled()
    await asyncio.sleep(0)  # the bridge finds its waiter cancelled


def test_a_result_that_comes_after_the_loop_was_closed_is_dropped_silently(caplog):
    bridge, future = FutureBridge(), Future()

    async def give_up():
        waiting = asyncio.create_task(bridge.result(future))
        await asyncio.sleep(0)
        future.set_running_or_notify_cancel()  # too late to cancel
        waiting.cancel()

    asyncio.run(give_up())
    future.set_result(1)
    assert not caplog.records
