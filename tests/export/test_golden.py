import dataclasses

import numpy as np
import pytest

from geminifusion_export.errors import ExportError
from geminifusion_export.verification import golden_frames
from geminifusion_export.verification.golden_frames import (
    GOLDEN_NAME,
    GoldenFrames,
    default_frames,
    frames_of,
    write_golden_set,
)
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_runtime.artifact import ArtifactError, read_metadata, sha256_of, write_metadata
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.golden_set import read_golden_set


def frames(count=2):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, (count, 20, 24), dtype=np.uint8)
    inputs = {
        "rgb": generator.integers(0, 256, (count, 20, 24, 3), dtype=np.uint8),
        "depth": generator.random((count, 20, 24), dtype=np.float32) * 4,
    }
    return GoldenFrames(inputs=inputs, truth=truth, source="noise", license="none")


def seal(directory, golden):
    path = directory / golden.file
    metadata = read_metadata(directory)
    metadata = dataclasses.replace(metadata, golden=golden, files={**metadata.files, golden.file: sha256_of(path)})
    write_metadata(directory, metadata)
    return metadata


@pytest.fixture
def written(make_artifact, tmp_path):
    directory = make_artifact(tmp_path / "tiny")
    reference = OnnxRuntimeBackend(directory / "model.onnx", threads=1, retained_pixels=48 * 64)
    return directory, seal(directory, write_golden_set(directory / GOLDEN_NAME, frames(), reference, 4))


def test_golden_set_reads_back_frame_by_frame_with_truth_and_outputs(written):
    directory, metadata = written
    assert (metadata.golden.frames, metadata.golden.source) == (2, "noise")
    expected = read_golden_set(directory, metadata)
    assert [entry.shape for entry in expected] == [(1, 20, 24)] * 2
    np.testing.assert_array_equal(expected[1].inputs["rgb"][0], frames().inputs["rgb"][1])
    np.testing.assert_array_equal(expected[1].truth[0], frames().truth[1])
    found = OnnxRuntimeBackend(directory / "model.onnx", threads=1, retained_pixels=48 * 64).run(expected[1].inputs)
    np.testing.assert_array_equal(found["labels"], expected[1].outputs["labels"])


def test_same_frames_give_the_same_bytes(written, tmp_path):
    directory, metadata = written
    reference = OnnxRuntimeBackend(directory / "model.onnx", threads=1, retained_pixels=48 * 64)
    write_golden_set(tmp_path / "again.npz", frames(), reference, 4)
    assert sha256_of(tmp_path / "again.npz") == metadata.files[GOLDEN_NAME]


def test_artifact_without_golden_set_has_no_frames(tiny_artifact):
    assert read_golden_set(tiny_artifact, read_metadata(tiny_artifact)) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("gate"), "holds nothing as gate"),
        (
            lambda arrays: arrays.update(depth=arrays["depth"].astype(np.float64)),
            "float64 .* as depth, expected float32",
        ),
        (lambda arrays: arrays.update(labels=arrays["labels"][:, :-1]), r"as labels, expected uint8 \(2, 20, 24\)"),
        (lambda arrays: arrays.pop("rgb"), "holds nothing as rgb"),
    ],
)
def test_golden_set_that_does_not_fit_the_metadata_is_refused(written, change, message):
    directory, metadata = written
    with np.load(directory / GOLDEN_NAME) as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez_compressed(directory / GOLDEN_NAME, **arrays)
    with pytest.raises(ArtifactError, match=message):
        read_golden_set(directory, metadata)


def test_file_that_is_no_npz_is_refused(written):
    directory, metadata = written
    (directory / GOLDEN_NAME).write_bytes(b"PK broken")
    with pytest.raises(ArtifactError, match=r"golden\.npz cannot be read"):
        read_golden_set(directory, metadata)


@pytest.fixture(scope="module")
def bundled():
    return default_frames(nyuv2_task(13))


def test_default_frames_are_rooms_with_truth_and_photographs_without(bundled):
    assert bundled.inputs["rgb"].shape == (8, 180, 240, 3)
    assert bundled.inputs["depth"].dtype == np.float32
    assert len(np.unique(bundled.truth[:5])) > 5
    assert set(np.unique(bundled.truth[5:])) == {255}
    assert "MIT" in bundled.license
    assert "Permission is hereby granted" in bundled.notices


def test_default_depth_is_what_a_sensor_stores(bundled):
    depth = bundled.inputs["depth"]
    assert (depth == 0).any(), "sensors leave holes"
    np.testing.assert_allclose(depth * 1000, np.round(depth * 1000), atol=1e-3)


def test_other_classes_get_the_same_frames_without_truth(monkeypatch):
    monkeypatch.setattr(golden_frames, "_NUM_ROOMS", 1)
    task = dataclasses.replace(nyuv2_task(13), class_names=tuple(f"class {index}" for index in range(13)))
    assert default_frames(task).truth is None


def test_other_sensors_get_random_frames_above_the_smallest_side():
    task = nyuv2_task(13)
    thermal = dataclasses.replace(task.modalities[0], name="thermal")
    found = default_frames(dataclasses.replace(task, modalities=(task.modalities[0], thermal)), min_side=200)
    assert found.inputs["thermal"].shape == (2, 200, 266, 3)
    assert "random" in found.source


def test_own_frames_must_have_the_networks_classes():
    rooms = Rooms(1, 20_000, (40, 48))
    assert frames_of(rooms, 5, rooms.task).inputs["rgb"].shape == (1, 40, 48, 3)
    with pytest.raises(ExportError, match="golden frames have 13 classes"):
        frames_of(rooms, 5, dataclasses.replace(rooms.task, class_names=("one", "two"), palette=((0, 0, 0), (1, 1, 1))))
