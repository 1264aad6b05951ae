"""One request through the pipeline: whatever happens in a stage, its future is completed."""

import threading
import time
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
from tests.translator_artifact import write_synthesizer

from geminifusion_runtime.errors import UndecodableImageError
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.batching.batcher import Batcher
from geminifusion_service.errors import DeadlineExceededError, EngineFailedError, NotReadyError
from geminifusion_service.isolation.decoder_pool import ThreadDecoderPool
from geminifusion_service.pipeline.pipeline import Pipeline, batch_of
from geminifusion_service.request import TaskRequest


@contextmanager
def open_pipeline(*, num_workers=2, prepare=batch_of, **batching):
    pipeline = Pipeline(
        num_workers=num_workers,
        decoder_pool=ThreadDecoderPool(),
        max_pixels=10**6,
        make_batcher=lambda more_expected: Batcher(
            prepare, max_batch=lambda _key: 4, capacity=8, more_expected=more_expected, **batching
        ),
    )
    pipeline.start()
    try:
        yield pipeline
    finally:
        pipeline.batcher.close(10)
        pipeline.close()


@pytest.fixture(scope="module")
def model(tiny_artifact):
    return Model.open(tiny_artifact, threads=1)


def request_of(images, **options):
    return TaskRequest(parts=images, options=SegmentOptions(**{"format": None, **options}))


@pytest.mark.parametrize("num_workers", [1, 4])
def test_requests_are_answered_whether_their_images_are_decoded_in_one_job_or_two(model, pair, num_workers):
    with open_pipeline(num_workers=num_workers) as pipeline:
        futures = [pipeline.submit(model, request_of(pair.files())) for _ in range(6)]
        for future in futures:
            np.testing.assert_array_equal(future.result(10).labels, pair.labels)
        assert pipeline.num_decoding == 0


@pytest.mark.parametrize("num_workers", [1, 4])
def test_of_two_undecodable_images_the_error_names_the_one_the_model_lists_first(model, num_workers):
    with (
        open_pipeline(num_workers=num_workers) as pipeline,
        pytest.raises(UndecodableImageError, match="rgb is no image"),
    ):
        pipeline.submit(model, request_of({"depth": b"nothing", "rgb": b"neither"})).result(10)


def test_a_batch_does_not_wait_for_a_request_that_cannot_be_decoded(model, pair):
    with open_pipeline(max_wait_s=3600) as pipeline:
        bad = pipeline.submit(model, request_of({**pair.files(), "depth": b"nothing"}))
        good = pipeline.submit(model, request_of(pair.files()))
        with pytest.raises(UndecodableImageError):
            bad.result(10)
        np.testing.assert_array_equal(good.result(10).labels, pair.labels)


def test_a_bug_in_a_stage_becomes_the_exception_of_the_request(model, pair):
    with open_pipeline() as pipeline:
        for broken in ({"rgb": pair.rgb, "depth": object()}, {}):  # no transport admits these
            assert pipeline.submit(model, request_of(broken)).exception(10) is not None
        assert pipeline.num_decoding == 0
        assert pipeline.submit(model, request_of(pair.files())).result(10).height == 48


def test_a_failing_engine_fails_the_request(model, pair):
    def prepare(_items):
        raise MemoryError

    with open_pipeline(prepare=prepare) as pipeline, pytest.raises(EngineFailedError):
        pipeline.submit(model, request_of(pair.files(), disagreement=True)).result(10)


def test_a_request_that_waits_for_a_decoder_fails_when_the_pipeline_is_closed(model, pair):
    with open_pipeline(num_workers=1) as pipeline:
        gate = threading.Event()
        blocked = pipeline.decoders.submit(gate.wait, 10)
        waiting = pipeline.submit(model, request_of(pair.files()))
        pipeline.close()
        with pytest.raises(NotReadyError):
            waiting.result(10)
        gate.set()
        blocked.result(10)
        with pytest.raises(NotReadyError):
            pipeline.submit(model, request_of(pair.files())).result(10)
        assert pipeline.num_decoding == 0


def test_a_computed_request_fails_when_the_encoders_are_shut_down(model, pair):
    with open_pipeline() as pipeline:
        pipeline.encoders.shutdown()
        with pytest.raises(NotReadyError):
            pipeline.submit(model, request_of(pair.files())).result(10)


def test_a_cancelled_request_keeps_no_images_while_its_stage_is_queued(model, pair):
    with open_pipeline(num_workers=1) as pipeline:
        gate = threading.Event()
        pipeline.decoders.submit(gate.wait, 10)
        image = np.array(pair.rgb)
        held = weakref.ref(image)
        future = pipeline.submit(model, request_of({**pair.files(), "rgb": image}))
        del image
        assert held() is not None
        assert future.cancel()
        assert held() is None
        gate.set()


def test_a_request_cancelled_before_it_is_decoded_is_not_decoded(model, pair):
    with open_pipeline(num_workers=1) as pipeline:
        gate = threading.Event()
        pipeline.decoders.submit(gate.wait, 10)
        future = pipeline.submit(model, request_of(pair.files()))
        assert future.cancel()
        gate.set()
        later = pipeline.submit(model, request_of(pair.files()))
        assert later.result(10).batch_size == 1
        assert pipeline.num_decoding == 0


@pytest.fixture
def completing(tiny_artifact, tmp_path):
    model = Model.open(tiny_artifact, threads=1)
    model.synthesize_with(Model.open(write_synthesizer(tmp_path / "to-depth"), threads=1))
    return model


def test_a_modality_is_made_in_a_stage_of_its_own(completing, pair):
    with open_pipeline() as pipeline:
        response = pipeline.submit(completing, request_of({"rgb": pair.rgb}, sensor_policy="synthesize")).result(10)
        assert [one.stage for one in response.timeline.stages] == ["decode", "synthesize", "queue", "compute", "encode"]
        ends = [one.end_ns for one in response.timeline.stages]
        assert ends == sorted(ends)
        assert pipeline.num_decoding == 0


def test_nothing_is_made_after_the_deadline(completing, pair):
    request = request_of({"rgb": pair.rgb}, sensor_policy="synthesize")
    with open_pipeline() as pipeline:
        late = pipeline.submit(completing, request, deadline=time.monotonic() - 1)
        assert isinstance(late.exception(10), DeadlineExceededError)
        assert pipeline.num_decoding == 0


def test_a_request_fails_where_its_modality_cannot_be_made_and_ends_where_nobody_waits_for_it(completing, pair):
    began, gate = threading.Event(), threading.Event()

    def prepare(items):
        assert items[0][0] is completing.translator, "the model ran all the same"
        began.set()
        gate.wait(10)
        raise MemoryError

    request = request_of({"rgb": pair.rgb}, sensor_policy="synthesize")
    with open_pipeline(prepare=prepare) as pipeline:
        failed, left = pipeline.submit(completing, request), pipeline.submit(completing, request)
        assert began.wait(10)
        assert left.cancel()
        gate.set()
        assert isinstance(failed.exception(10), EngineFailedError)
        assert pipeline.num_decoding == 0
