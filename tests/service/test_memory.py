"""Nothing of a request is kept once it has its response."""

import asyncio
import gc
import weakref

import pytest

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.local_executor import LocalExecutor
from geminifusion_service.pipeline.pipeline import _PipelineRun
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.request import TaskRequest
from geminifusion_service.settings import Settings


@pytest.fixture
def living_runs(monkeypatch):
    """Runs that are alive; without the garbage collector, which in a server may come minutes later."""
    alive = weakref.WeakSet()
    start = _PipelineRun.start

    def noted(self):
        alive.add(self)
        start(self)

    monkeypatch.setattr(_PipelineRun, "start", noted)
    gc.disable()
    yield alive
    gc.enable()


@pytest.mark.parametrize("kind", ["answered", "two runs", "refused", "late"])
async def test_an_ended_request_is_gone_without_the_garbage_collector(tiny_artifact, pair, living_runs, kind):
    files = pair.files(depth=b"no image") if kind == "refused" else pair.files()
    options = SegmentOptions(disagreement=kind == "two runs", deadline_ms=0.01 if kind == "late" else None)
    metrics = Metrics()
    settings = Settings.of(artifacts=(tiny_artifact,), threads=1, decode_workers=2, decode_isolation="thread")
    segmenter = Segmenter(LocalExecutor(settings, metrics), metrics, max_bytes=settings.limits.max_inflight_bytes)
    await segmenter.start()
    segmenter.mark_ready(ModelRegistry([Model.open(tiny_artifact, threads=1)]))

    async def ask():
        try:
            await segmenter.segment(TaskRequest(parts=files, options=options))
        except GeminiFusionError:
            assert kind in ("refused", "late")

    for _ in range(10):
        await asyncio.gather(*(ask() for _ in range(8)))
    assert await segmenter.close(10)
    # The pools' threads hold the last work they did until they are given the next.
    assert len(living_runs) <= 4
