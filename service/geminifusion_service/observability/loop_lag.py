"""How long the event loop keeps others waiting: the first thing to look at when every request is a little slow."""

from __future__ import annotations

import asyncio

from geminifusion_service.observability.metrics import Metrics

_EVERY_S = 0.25


async def watch_loop_lag(metrics: Metrics) -> None:
    """Measure how late a timer of this loop fires, four times a second, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _EVERY_S
        await asyncio.sleep(_EVERY_S)
        metrics.event_loop_lag_seconds.observe(max(0.0, loop.time() - due))
