"""Calls that may never return, one after the other on one thread."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from geminifusion_runtime.daemon_executor import DaemonExecutor


async def test_calls_share_one_daemon_thread_that_outlasts_them() -> None:
    executor, loop = DaemonExecutor("test"), asyncio.get_running_loop()
    first = await loop.run_in_executor(executor, threading.current_thread)
    assert await loop.run_in_executor(executor, threading.current_thread) is first
    assert first.is_alive()
    assert first.daemon  # the process may end while it lives


def test_an_error_is_the_exception_of_the_future() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        DaemonExecutor("test").submit(fail).result(10)


async def test_a_call_whose_caller_has_stopped_waiting_does_not_disturb_the_next() -> None:
    executor, go_on = DaemonExecutor("test"), threading.Event()
    slow = asyncio.wrap_future(executor.submit(go_on.wait, 10))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow, 0.01)
    go_on.set()
    assert await asyncio.wrap_future(executor.submit(str, "next")) == "next"


def test_a_call_that_is_cancelled_before_it_begins_is_not_made() -> None:
    executor, go_on, made = DaemonExecutor("test"), threading.Event(), threading.Event()
    first = executor.submit(go_on.wait, 10)
    second = executor.submit(made.set)
    assert second.cancel()
    go_on.set()
    assert first.result(10)
    executor.submit(str).result(10)
    assert not made.is_set()


def test_shutting_down_ends_the_thread_after_the_queued_calls_or_without_them() -> None:
    for cancel in (False, True):
        executor, go_on = DaemonExecutor("test"), threading.Event()
        running, queued = executor.submit(go_on.wait, 10), executor.submit(threading.current_thread)
        while not running.running():
            time.sleep(0.001)
        executor.shutdown(wait=False, cancel_futures=cancel)
        go_on.set()
        executor.shutdown()
        assert running.result(10)
        assert queued.cancelled() is cancel
        assert cancel or not queued.result(10).is_alive()
