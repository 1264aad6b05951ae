"""Work that is given up when its client hangs up: its place in a batch is worth more to others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from geminifusion_runtime.errors import BadRequestError

T = TypeVar("T")


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, whose body has been read, for as long as somebody waits for it.

    Raises:
        BadRequestError: the client went away, so nobody will read this.
    """
    this = asyncio.current_task()
    assert this is not None, "called from a task"
    is_over = hung_up = False

    def give_up(gone: asyncio.Task[None]) -> None:
        nonlocal hung_up
        if not is_over and not gone.cancelled():
            hung_up = True
            this.cancel()

    gone = asyncio.create_task(_disconnected(request))
    gone.add_done_callback(give_up)
    try:
        return await work
    except asyncio.CancelledError:
        if not hung_up:
            raise
        this.uncancel()
        raise BadRequestError("the client closed the connection before the answer was ready") from None
    finally:
        is_over = True
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
