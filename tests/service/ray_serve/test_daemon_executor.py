"""The thread Ray is started on."""

from __future__ import annotations

import asyncio
import threading

import pytest

from geminifusion_service.ray_serve.daemon_executor import LastingThread


async def test_calls_share_one_thread_that_outlasts_them() -> None:
    thread = LastingThread("test")
    first = await thread.call(threading.current_thread)
    assert await thread.call(threading.current_thread) is first
    assert first.is_alive()
    assert first.daemon  # the process may end while it lives


async def test_an_error_reaches_who_called() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await LastingThread("test").call(fail)


async def test_a_call_that_was_given_up_does_not_disturb_the_next() -> None:
    thread, go_on = LastingThread("test"), threading.Event()
    slow = thread.call(lambda: go_on.wait(10))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow, 0.01)
    go_on.set()
    assert await thread.call(lambda: "next") == "next"
