"""The segmenter without a transport: one request, and many at once."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.tasks.detection import runtime as detection
from geminifusion_runtime.tasks.detection.options import DetectOptions
from geminifusion_runtime.tasks.detection.selection import found_boxes
from geminifusion_service.errors import DeadlineExceededError, NotReadyError, QueueFullError
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.local_executor import LocalExecutor
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.request import TaskRequest
from geminifusion_service.settings import Settings


class Held:
    """A real runtime behind a gate, which records the batches it was asked to run."""

    def __init__(self, backend):
        self._backend = backend
        self.name = backend.name
        self.gate = threading.Event()
        self.gate.set()
        self.batches = []

    def size_problem(self, height, width):
        return self._backend.size_problem(height, width)

    def run(self, inputs):
        self.batches.append(inputs)
        assert self.gate.wait(20)
        return self._backend.run(inputs)


def segmenter_of(settings):
    metrics = Metrics()
    executor = LocalExecutor(settings, metrics)
    return executor, Segmenter(executor, metrics, max_bytes=settings.limits.max_inflight_bytes)


@asynccontextmanager
async def open_segmenter(artifact, **settings):
    values = {"threads": 1, "decode_workers": 2, "decode_isolation": "thread", "max_batch": 4, **settings}
    executor, segmenter = segmenter_of(Settings.of(artifacts=(artifact,), **values))
    model = Model.open(artifact, threads=1)
    model.backend = Held(model.backend)
    await segmenter.start()
    segmenter.mark_ready(ModelRegistry([model]))
    try:
        yield segmenter, model.backend, executor
    finally:
        model.backend.gate.set()
        assert await segmenter.close(20)


def request_of(pair, **options):
    return TaskRequest(parts=pair.files(), options=SegmentOptions(**{"format": None, **options}))


async def until(condition):
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come about in 20 s")


async def test_arrays_and_files_of_one_scene_get_the_same_labels(tiny_artifact, pair):
    async with open_segmenter(tiny_artifact) as (segmenter, _, _):
        as_files = await segmenter.segment(request_of(pair))
        arrays = TaskRequest(parts={"rgb": pair.rgb, "depth": pair.depth_mm}, options=SegmentOptions(format=None))
        as_arrays = await segmenter.segment(arrays)
    np.testing.assert_array_equal(as_files.labels, pair.labels)
    np.testing.assert_array_equal(as_arrays.labels, pair.labels)


async def test_the_timeline_holds_every_stage_in_order_and_begins_with_the_body_of_an_admitted_request(
    tiny_artifact, pair
):
    async with open_segmenter(tiny_artifact) as (segmenter, _, _):
        without = await segmenter.segment(request_of(pair))
        with segmenter.admit(body_bytes=10) as ticket:
            await asyncio.sleep(0.02)
            response = await segmenter.segment(request_of(pair), ticket)
    assert [timing.stage for timing in without.timeline.stages] == ["decode", "queue", "compute", "encode"]
    stages = response.timeline.stages
    assert [timing.stage for timing in stages] == ["receive", "decode", "queue", "compute", "encode"]
    assert response.timeline.milliseconds("receive") >= 20
    moments = [moment for timing in stages for moment in (timing.start_ns, timing.end_ns)]
    assert moments == sorted(moments)
    assert response.timings.compute == response.timeline.milliseconds("compute")


async def test_disagreement_runs_the_frame_with_and_without_depth_in_one_batch(tiny_artifact, pair):
    async with open_segmenter(tiny_artifact) as (segmenter, backend, _):
        response = await segmenter.segment(request_of(pair, disagreement=True))
        plain = await segmenter.segment(request_of(pair))
    together = backend.batches[0]
    np.testing.assert_array_equal(together["rgb"][0], together["rgb"][1])
    assert together["depth"][0].any()
    assert not together["depth"][1].any()
    assert response.batch_size == 2
    np.testing.assert_array_equal(response.labels, plain.labels)
    assert plain.disagreement is None
    assert response.disagreement.shape == response_cells(pair)
    # the tiny graph calls everything near where there is no depth, so it is only far pixels that change
    far_cells = pair.labels[2::4, 2::4] % 2 == 1
    assert response.disagreement[far_cells].mean() > response.disagreement[~far_cells].mean()
    assert "never trained without depth" in " ".join(response.warnings)


def response_cells(pair):
    height, width = pair.labels.shape
    return (-(-height // 4), -(-width // 4))


async def test_disagreement_needs_a_modality_besides_rgb(make_artifact, tmp_path, pair):
    artifact = make_artifact(tmp_path / "optional", depth_optional=True)
    async with open_segmenter(artifact) as (segmenter, _, _):
        request = TaskRequest(parts={"rgb": pair.rgb}, options=SegmentOptions(format=None, disagreement=True))
        with pytest.raises(InvalidOptionError, match="only rgb came"):
            await segmenter.segment(request)


async def test_high_priority_goes_ahead_of_queued_requests_and_uses_its_reserve(tiny_artifact, make_pair):
    async with open_segmenter(tiny_artifact, queue_size=4, max_batch=1) as (segmenter, backend, executor):
        backend.gate.clear()
        first = asyncio.create_task(segmenter.segment(request_of(make_pair(0))))
        await until(lambda: len(backend.batches) == 1)
        queued = []
        for seed in (1, 2, 3):
            queued.append(asyncio.create_task(segmenter.segment(request_of(make_pair(seed)))))
            await until(lambda: executor.queue_depth == len(queued))
        with pytest.raises(QueueFullError):
            segmenter.check_admission()
        urgent = asyncio.create_task(segmenter.segment(request_of(make_pair(9), priority="high")))
        await until(lambda: executor.queue_depth == 4)
        backend.gate.set()
        await asyncio.gather(first, urgent, *queued)
    order = [batch["rgb"][0] for batch in backend.batches]
    np.testing.assert_array_equal(order[1], make_pair(9).rgb)
    np.testing.assert_array_equal(order[2], make_pair(1).rgb)


async def test_a_request_cancelled_while_queued_never_reaches_the_engine(tiny_artifact, make_pair):
    async with open_segmenter(tiny_artifact, max_batch=1) as (segmenter, backend, executor):
        backend.gate.clear()
        first = asyncio.create_task(segmenter.segment(request_of(make_pair(0))))
        await until(lambda: len(backend.batches) == 1)
        gone = asyncio.create_task(segmenter.segment(request_of(make_pair(1), disagreement=True)))
        await until(lambda: executor.queue_depth == 2)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        backend.gate.set()
        await first
        await segmenter.segment(request_of(make_pair(2)))
    assert len(backend.batches) == 2


async def test_the_deadline_counts_from_the_arrival_of_the_headers(tiny_artifact, pair):
    async with open_segmenter(tiny_artifact) as (segmenter, backend, _):
        with segmenter.admit() as ticket:
            ticket.arrival = time.monotonic() - 1
            with pytest.raises(DeadlineExceededError):
                await segmenter.segment(request_of(pair, deadline_ms=900), ticket)
    assert not backend.batches


async def test_a_closed_segmenter_rejects_requests_on_their_headers(tiny_artifact):
    async with open_segmenter(tiny_artifact) as (segmenter, _, _):
        segmenter.check_admission()
    with pytest.raises(NotReadyError):
        segmenter.check_admission()


async def test_many_requests_of_several_sizes_each_get_their_own_labels(tiny_artifact, make_pair):
    pairs = [make_pair(seed, 48 + 16 * (seed % 3), 64) for seed in range(60)]
    async with open_segmenter(tiny_artifact, max_batch=8) as (segmenter, backend, executor):
        backend.gate.clear()  # so that a queue forms, however fast the frames are decoded
        tasks = [asyncio.create_task(segmenter.segment(request_of(pair))) for pair in pairs]
        async with asyncio.timeout(20):
            while executor.queue_depth < len(pairs) // 2:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        backend.gate.set()
        responses = await asyncio.gather(*tasks)
    for pair, response in zip(pairs, responses, strict=True):
        np.testing.assert_array_equal(response.labels, pair.labels)
    assert len(backend.batches) < len(pairs)
    assert sum(len(batch["rgb"]) for batch in backend.batches) == len(pairs)


async def test_a_model_loaded_on_too_few_devices_is_rejected(tiny_artifact):
    _, segmenter = segmenter_of(Settings.of(artifacts=(tiny_artifact,), devices="cpu,cpu"))
    with pytest.raises(ValueError, match="loaded on 1 devices, but the settings name 2"):
        segmenter.mark_ready(ModelRegistry([Model.open(tiny_artifact, threads=1)]))
    await segmenter.close(1)


@pytest.mark.parametrize(("file_format", "times"), [("png", 1), ("ply", 6)])
async def test_pixels_of_points_count_for_the_memory_that_their_file_takes(file_format, times, tiny_artifact, pair):
    async with open_segmenter(tiny_artifact) as (segmenter, backend, _):
        segmenter._max_pixels = 10**6
        backend.gate.clear()
        request = request_of(pair, format=file_format, intrinsics=(500.0, 500.0, 35.0, 25.0))
        waiting = asyncio.create_task(segmenter.segment(request))
        await until(lambda: backend.batches)
        assert segmenter.budget._held["pixels"] == times * 2 * pair.rgb.shape[0] * pair.rgb.shape[1]
        backend.gate.set()
        assert (await waiting).mask


async def test_frames_of_a_detector_run_alone_and_their_boxes_are_selected_once_beside_the_engine(
    detector_artifact, make_street, monkeypatch
):
    threads = []

    def select(*arguments):
        threads.append(threading.current_thread().name)
        return found_boxes(*arguments)

    monkeypatch.setattr(detection, "found_boxes", select)
    streets = [make_street(seed) for seed in range(4)]
    async with open_segmenter(detector_artifact, max_batch=4) as (segmenter, backend, executor):
        backend.gate.clear()
        requests = [
            asyncio.create_task(
                segmenter.segment(TaskRequest(parts=street.files(), options=DetectOptions(min_score=0.2, format=None)))
            )
            for street in streets
        ]
        await until(lambda: executor.queue_depth == 3)
        backend.gate.set()
        for response in await asyncio.gather(*requests):
            assert response.batch_size == 1
            assert len(response.found)
    assert len(threads) == len(streets)
    assert all(name.startswith("encode") for name in threads)
