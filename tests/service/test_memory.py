"""Nothing of a request is kept once it is answered."""

import asyncio
import gc
import weakref

import pytest

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline import pipeline as journey
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.request import SegmentRequest
from geminifusion_service.settings import Settings


@pytest.fixture
def journeys(monkeypatch):
    """Those that are alive; without the garbage collector, which in a server may come minutes later."""
    alive = weakref.WeakSet()
    begin = journey._Journey.begin

    def noted(self):
        alive.add(self)
        begin(self)

    monkeypatch.setattr(journey._Journey, "begin", noted)
    gc.disable()
    yield alive
    gc.enable()


@pytest.mark.parametrize("kind", ["answered", "two runs", "refused", "late"])
async def test_an_ended_request_is_gone_without_the_garbage_collector(tiny_artifact, pair, journeys, kind):
    files = pair.files(depth=b"no image") if kind == "refused" else pair.files()
    options = SegmentOptions(disagreement=kind == "two runs", deadline_ms=0.01 if kind == "late" else None)
    segmenter = Segmenter(Settings(artifacts=(tiny_artifact,), threads=1, decode_workers=2), Metrics())
    segmenter.open_for(ModelRegistry([Model.open(tiny_artifact, threads=1)]))

    async def ask():
        try:
            await segmenter.segment(SegmentRequest(images=files, options=options))
        except GeminiFusionError:
            assert kind in ("refused", "late")

    for _ in range(10):
        await asyncio.gather(*(ask() for _ in range(8)))
    assert await segmenter.close(10)
    # The pools' threads hold the last work they did until they are given the next.
    assert len(journeys) <= 4
