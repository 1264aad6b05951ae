"""Between blocking iterators and those of an event loop, which gets a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from geminifusion_runtime.daemon_executor import DaemonExecutor

_T = TypeVar("_T")


def blocking_iterator(items: AsyncGenerator[_T, None]) -> Iterator[_T]:
    """The items of an asynchronous generator that nobody else iterates, which runs on an event loop in a thread."""
    with _event_loop_in_thread() as loop:
        turn = asyncio.Lock()  # a generator cannot be closed while it runs
        try:
            while True:
                next_one = asyncio.run_coroutine_threadsafe(_next(items, turn), loop)
                if (item := next_one.result()) is None:
                    return
                yield item
        finally:
            next_one.cancel()  # it is still awaited where the caller was interrupted
            asyncio.run_coroutine_threadsafe(_close(items, turn), loop).result()


async def async_iterator(items: Iterator[_T]) -> AsyncIterator[_T]:
    """The items of an iterator that may block, each taken on demand in a thread that nobody has to wait for."""
    loop, executor = asyncio.get_running_loop(), DaemonExecutor("geminifusion-frames")
    try:
        while (item := await loop.run_in_executor(executor, next, items, None)) is not None:
            yield item
    finally:
        executor.shutdown(wait=False)


@contextmanager
def _event_loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread; tasks that still run on it when the block ends are cancelled."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run_until_stopped() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run_until_stopped()), name="geminifusion-stream", daemon=True)
    thread.start()
    loop, stop = started.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _next(items: AsyncGenerator[_T, None], turn: asyncio.Lock) -> _T | None:
    async with turn:
        return await anext(items, None)


async def _close(items: AsyncGenerator[_T, None], turn: asyncio.Lock) -> None:
    async with turn:
        await items.aclose()
