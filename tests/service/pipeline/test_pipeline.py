"""One request through pools and engine: whatever happens on the way, somebody is told."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from geminifusion_runtime.errors import UndecodableImageError
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.batching.batcher import Batcher
from geminifusion_service.errors import EngineFailedError, NotReadyError
from geminifusion_service.isolation.decoder_pool import ThreadDecoderPool
from geminifusion_service.pipeline.pipeline import Road, batch_of
from geminifusion_service.request import SegmentRequest


@contextmanager
def open_road(*, num_workers=2, prepare=batch_of, **batching):
    road = Road(
        num_workers=num_workers,
        readers=ThreadDecoderPool(),
        max_pixels=10**6,
        batcher_for=lambda more_expected: Batcher(
            prepare, max_batch=lambda _key: 4, capacity=8, more_expected=more_expected, **batching
        ),
    )
    road.batcher.start()
    try:
        yield road
    finally:
        road.batcher.close(10)
        road.close()


@pytest.fixture(scope="module")
def model(tiny_artifact):
    return Model.open(tiny_artifact, threads=1)


def request_of(images, **options):
    return SegmentRequest(images=images, options=SegmentOptions(**{"format": None, **options}))


@pytest.mark.parametrize("num_workers", [1, 4])
def test_it_is_answered_whether_its_images_are_decoded_in_one_job_or_two(model, pair, num_workers):
    with open_road(num_workers=num_workers) as road:
        answers = [road.take(model, request_of(pair.files())) for _ in range(6)]
        for answer in answers:
            np.testing.assert_array_equal(answer.result(10).labels, pair.labels)
        assert road.num_decoding == 0


@pytest.mark.parametrize("num_workers", [1, 4])
def test_of_two_bad_images_the_models_first_is_named(model, num_workers):
    with open_road(num_workers=num_workers) as road, pytest.raises(UndecodableImageError, match="rgb is no image"):
        road.take(model, request_of({"depth": b"nothing", "rgb": b"neither"})).result(10)


def test_others_do_not_wait_for_one_that_cannot_be_decoded(model, pair):
    with open_road(max_wait_s=3600) as road:
        bad = road.take(model, request_of({**pair.files(), "depth": b"nothing"}))
        good = road.take(model, request_of(pair.files()))
        with pytest.raises(UndecodableImageError):
            bad.result(10)
        np.testing.assert_array_equal(good.result(10).labels, pair.labels)


def test_a_bug_in_a_stage_is_told_and_not_lost(model, pair):
    with open_road() as road:
        for broken in ({"rgb": pair.rgb, "depth": object()}, {}):  # no transport lets these in
            assert road.take(model, request_of(broken)).exception(10) is not None
        assert road.num_decoding == 0
        assert road.take(model, request_of(pair.files())).result(10).height == 48


def test_a_failing_engine_is_told(model, pair):
    def prepare(_items):
        raise MemoryError

    with open_road(prepare=prepare) as road, pytest.raises(EngineFailedError):
        road.take(model, request_of(pair.files(), disagreement=True)).result(10)


def test_what_waits_for_a_decoder_when_the_road_closes_is_refused_and_not_left_waiting(model, pair):
    with open_road(num_workers=1) as road:
        gate = threading.Event()
        blocked = road.decoders.submit(gate.wait, 10)
        waiting = road.take(model, request_of(pair.files()))
        road.close()
        with pytest.raises(NotReadyError):
            waiting.result(10)
        gate.set()
        blocked.result(10)
        with pytest.raises(NotReadyError):
            road.take(model, request_of(pair.files())).result(10)
        assert road.num_decoding == 0


def test_what_was_computed_when_the_encoders_are_gone_is_refused_and_not_left_waiting(model, pair):
    with open_road() as road:
        road.encoders.shutdown()
        with pytest.raises(NotReadyError):
            road.take(model, request_of(pair.files())).result(10)


def test_one_given_up_before_it_is_decoded_is_not_decoded(model, pair):
    with open_road(num_workers=1) as road:
        gate = threading.Event()
        road.decoders.submit(gate.wait, 10)
        answer = road.take(model, request_of(pair.files()))
        assert answer.cancel()
        gate.set()
        later = road.take(model, request_of(pair.files()))
        assert later.result(10).batch_size == 1
        assert road.num_decoding == 0
