"""Whether a model is still right, asked through the serving path."""

import dataclasses

import numpy as np
import pytest

from geminifusion_runtime.artifact import ArtifactError
from geminifusion_runtime.model import Model
from geminifusion_service.errors import EngineFailedError, QueueFullError
from geminifusion_service.models.self_test import observed_alone, run_self_test, self_test_frames


@pytest.fixture
def golden_model(tmp_path, make_artifact, add_golden):
    """A model and its artifact's directory."""

    def make(wrong=0.0):
        directory = add_golden(make_artifact(tmp_path / "golden"), wrong=wrong)
        return Model.open(directory, threads=1), directory

    return make


async def probe(model, request):
    return observed_alone(model, request.parts)


async def test_golden_frames_are_compared_with_torchs_labels(golden_model):
    model, directory = golden_model()
    result = await run_self_test(model, self_test_frames(directory, model), probe)
    assert (result.kind, result.frames, result.agreement, result.passed, result.problem) == ("golden", 2, 1, True, "")


async def test_too_few_equal_labels_fail_and_the_numbers_are_told(golden_model):
    model, directory = golden_model(wrong=0.01)
    result = await run_self_test(model, self_test_frames(directory, model), probe)
    assert not result.passed
    assert result.agreement == pytest.approx(0.99, abs=1e-3)
    assert "99.007 % of the labels agree with torch's, 99.9 % are expected" in result.problem


async def test_without_golden_frames_a_model_has_to_answer_as_when_it_was_loaded(tiny_artifact, caplog):
    model = Model.open(tiny_artifact, threads=1)
    frames = self_test_frames(tiny_artifact, model)
    assert "no golden frames" in caplog.text
    assert frames.kind == "self"
    assert (await run_self_test(model, frames, probe)).passed
    drifted = frames.expected[0].copy()
    drifted[0, 0] ^= 1
    result = await run_self_test(model, dataclasses.replace(frames, expected=(drifted,)), probe)
    assert not result.passed
    assert "its own when it was loaded" in result.problem


async def test_no_answer_fails_but_a_busy_service_says_nothing_about_the_model(golden_model):
    model, directory = golden_model()
    frames = self_test_frames(directory, model)

    async def broken(model, request):
        raise EngineFailedError("the engine failed")

    async def busy(model, request):
        raise QueueFullError("full")

    result = await run_self_test(model, frames, broken)
    assert (result.passed, result.agreement, result.problem) == (False, None, "no response (engine_failed)")
    assert await run_self_test(model, frames, busy) is None


def test_golden_frames_that_lack_an_array_are_an_artifact_error(golden_model):
    model, directory = golden_model()
    np.savez(directory / "golden.npz", rgb=np.zeros((2, 48, 64, 3), np.uint8))
    with pytest.raises(ArtifactError, match="golden"):
        self_test_frames(directory, model)
    (directory / "golden.npz").write_bytes(b"not an archive")
    with pytest.raises(ArtifactError, match="golden"):
        self_test_frames(directory, model)


def test_golden_frames_of_a_size_the_service_would_reduce_are_not_used(golden_model):
    model, directory = golden_model()
    size = dataclasses.replace(model.metadata.size, max_pixels=40 * 60, reference=(32, 48))
    smaller = Model(dataclasses.replace(model.metadata, size=size), model.backend)
    assert self_test_frames(directory, smaller).kind == "self"
