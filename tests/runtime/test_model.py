"""The synchronous core, on the real runtime."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from geminifusion_runtime.artifact import ArtifactError
from geminifusion_runtime.errors import (
    ImageTooSmallError,
    MissingPartError,
    SizeMismatchError,
    UnknownPartError,
    UnprocessableError,
)
from geminifusion_runtime.model import Model


@pytest.fixture(scope="module")
def model(tiny_artifact):
    return Model.open(tiny_artifact, threads=1)


def prepare(model, pair):
    return model.prepare({"rgb": pair.rgb, "depth": pair.depth_mm * np.float32(0.001)})


def test_a_model_answers_every_pixel_at_the_posted_size(model, pair):
    (answer,) = model.run([prepare(model, pair)])
    np.testing.assert_array_equal(answer.labels, pair.labels)
    assert answer.confidence.shape == answer.gate.shape == (12, 16)
    assert answer.confidence.dtype == answer.gate.dtype == np.float32


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (50, 67)])
def test_sizes_that_are_no_multiple_of_four_round_the_maps_up(model, make_pair, size):
    (answer,) = model.run([prepare(model, make_pair(0, *size))])
    assert answer.labels.shape == size
    assert answer.gate.shape == (-(-size[0] // 4), -(-size[1] // 4))


def test_a_batch_answers_as_one_by_one_exactly_and_in_order(model, make_pair):
    items = [prepare(model, make_pair(seed)) for seed in range(7)]
    for alone, together in zip((model.run([item])[0] for item in items), model.run(items), strict=True):
        np.testing.assert_array_equal(alone.labels, together.labels)
        np.testing.assert_array_equal(alone.confidence, together.confidence)
        np.testing.assert_array_equal(alone.gate, together.gate)


def test_a_large_image_is_reduced_and_its_labels_enlarged_again(model, make_pair):
    pair = make_pair(0, 480, 640)
    item = prepare(model, pair)
    assert item.shape == (120, 160)
    # nearest: every depth the graph sees was really measured there
    assert set(item.inputs["depth"].ravel()) <= set((pair.depth_mm * np.float32(0.001)).ravel())
    (answer,) = model.run([item])
    assert answer.labels.shape == (480, 640)
    assert (answer.labels == pair.labels).mean() > 0.95


def test_reduced_shapes_never_exceed_the_maximum(model):
    rng = np.random.default_rng(5)
    for height, width in rng.integers(100, 700, (50, 2)):
        item = model.prepare(
            {"rgb": np.zeros((height, width, 3), np.uint8), "depth": np.ones((height, width), np.float32)}
        )
        assert item.shape[0] * item.shape[1] <= 120 * 160


def test_a_batch_of_different_shapes_is_our_own_bug(model, make_pair):
    with pytest.raises(ValueError, match="one shape"):
        model.run([prepare(model, make_pair(0)), prepare(model, make_pair(0, 16, 16))])


def test_different_sizes_are_refused_with_both(model):
    with pytest.raises(SizeMismatchError, match=r"depth is 64x48 but rgb is 32x48"):
        model.prepare({"rgb": np.zeros((48, 32, 3), np.uint8), "depth": np.ones((48, 64), np.float32)})


@pytest.mark.parametrize(("height", "width"), [(15, 64), (16, 20_000)])
def test_too_small_as_posted_or_once_reduced_is_refused(model, height, width):
    with pytest.raises(ImageTooSmallError, match="below 16"):
        model.prepare({"rgb": np.zeros((height, width, 3), np.uint8), "depth": np.ones((height, width), np.float32)})


@pytest.mark.parametrize(
    ("rgb", "depth"),
    [
        (np.zeros((32, 32), np.uint8), np.ones((32, 32), np.float32)),
        (np.zeros((32, 32, 3), np.float32), np.ones((32, 32), np.float32)),
        (np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), np.uint16)),
        (np.zeros((32, 32, 3), np.uint8), np.ones((32, 32, 1), np.float32)),
    ],
)
def test_another_type_or_shape_is_refused(model, rgb, depth):
    with pytest.raises(UnprocessableError, match="expected"):
        model.prepare({"rgb": rgb, "depth": depth})


def test_missing_and_unknown_modalities_are_named(model):
    rgb = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(MissingPartError, match="depth"):
        model.prepare({"rgb": rgb})
    with pytest.raises(UnknownPartError, match="thermal"):
        model.prepare({"rgb": rgb, "depth": np.ones((32, 32), np.float32), "thermal": rgb})


def test_warming_up_runs_the_reference_size(model):
    model.warm_up()


def test_other_sizes_are_warmed_up_beside_the_reference(tiny_artifact, monkeypatch):
    model = Model.open(tiny_artifact, threads=1)
    run, shapes = model.backend.run, []
    monkeypatch.setattr(model.backend, "run", lambda inputs: shapes.append(inputs["rgb"].shape) or run(inputs))
    model.warm_up([(32, 40), (480, 640)])
    assert shapes == [(1, 48, 64, 3), (1, 32, 40, 3), (1, 120, 160, 3)], "the last is reduced, as a posted one is"


def test_a_model_is_called_by_another_version_if_told_so(tiny_artifact):
    assert Model.open(tiny_artifact, threads=1, version="7").reference == "tiny@7"


def test_closing_waits_for_the_run_of_the_moment_and_nothing_runs_after_it(tiny_artifact, pair):
    model = Model.open(tiny_artifact, threads=1)
    item = prepare(model, pair)
    run, running, go_on = model.backend.run, threading.Event(), threading.Event()

    def slow(inputs):
        running.set()
        go_on.wait(10)
        return run(inputs)

    model.backend.run = slow
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(model.run, [item])
        running.wait(10)
        assert not model.close(timeout_s=0.01), "it is still running"
        go_on.set()
        assert model.close(timeout_s=10)
        np.testing.assert_array_equal(answer.result()[0].labels, pair.labels)
    with pytest.raises(RuntimeError, match="unloaded"):
        model.run([item])


def test_closing_closes_the_runtime_that_asks_for_it(tiny_artifact):
    model = Model.open(tiny_artifact, threads=1)
    closed = []
    model.backend.close = lambda: closed.append(1)
    assert model.close()
    assert model.close(), "twice does no harm"
    assert closed == [1]


def test_a_damaged_artifact_is_refused(tmp_path, make_artifact):
    directory = make_artifact(tmp_path / "damaged")
    with (directory / "model.onnx").open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(ArtifactError, match="SHA-256"):
        Model.open(directory)
