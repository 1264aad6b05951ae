"""Metrics: what is said of a request."""

import asyncio
import re
import time

from geminifusion_service.observability.metrics import Metrics


def sample(text, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])


def test_an_answered_request_is_timed_whole_and_by_stage(serving, pair):
    with serving() as live:
        for _ in range(3):
            assert live.post(pair.files()).is_success
        text = live.get("/metrics").text
    assert sample(text, "geminifusion_request_seconds_count") == 3
    stages = [sample(text, f'geminifusion_stage_seconds_count{{stage="{stage}"}}') for stage in _STAGES]
    assert stages == [3] * len(_STAGES)
    assert sample(text, "geminifusion_request_seconds_sum") >= sample(
        text, 'geminifusion_stage_seconds_sum{stage="compute"}'
    )
    assert sample(text, "geminifusion_engine_busy_seconds_total") > 0
    assert sample(text, "process_resident_memory_bytes") > 10e6


_STAGES = ("receive", "decode", "queue", "compute", "encode")


def test_a_deadline_that_passed_is_a_dropped_request(serving, pair):
    with serving() as live:
        assert live.post(pair.files(), deadline_ms=0.01).status_code == 504
        text = live.get("/metrics").text
    assert sample(text, 'geminifusion_requests_total{code="deadline_exceeded",transport="http"}') == 1


async def test_a_loop_that_is_held_up_shows_in_its_lag():
    metrics = Metrics()
    watch = asyncio.create_task(metrics.watch_event_loop())
    await asyncio.sleep(0.2)
    time.sleep(0.3)  # noqa: ASYNC251 - holding up the loop is the point
    await asyncio.sleep(0.01)
    watch.cancel()
    assert sample(metrics.text().decode(), "geminifusion_event_loop_lag_seconds_sum") > 0.15
