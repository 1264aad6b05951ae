"""Translation in the runtime: padding to what the graph takes, batches, and the artifact's class by its task."""

import json

import cv2
import numpy as np
import pytest
from tests.translator_artifact import expected_output, write_translator

from geminifusion_runtime.artifact import (
    METADATA_NAME,
    ArtifactError,
    SegmentationMetadata,
    TranslationMetadata,
    read_metadata,
)
from geminifusion_runtime.artifact.files import _METADATA
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.registry import TASKS
from geminifusion_runtime.tasks.translation.encoding import encode_output
from geminifusion_runtime.tasks.translation.runtime import TranslationTask


@pytest.fixture(params=["image", "depth"])
def kind(request):
    return request.param


@pytest.fixture
def model(tmp_path, kind):
    return Model.open(write_translator(tmp_path / "translator", kind), threads=1)


def frame(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "rgb": rng.integers(0, 200, (height, width, 3), dtype=np.uint8),
        "edge": rng.integers(0, 50, (height, width), dtype=np.uint8),
    }


@pytest.mark.parametrize("size", [(64, 96), (33, 50), (16, 100), (65, 31)])
def test_any_size_is_padded_and_cropped_back(model, kind, size):
    images = frame(*size)
    item = model.prepare(images)
    assert all(side % 32 == 0 for side in item.shape)
    (found,) = model.run([item])
    np.testing.assert_array_equal(found.output, expected_output(kind, **images))


def test_a_batch_gives_what_each_gives_alone_though_their_sizes_differ(model):
    frames = [frame(60, 90, 1), frame(64, 96, 2), frame(33, 70, 3)]
    items = [model.prepare(one) for one in frames]
    assert len({item.batch_key for item in items}) == 1
    for item, together in zip(items, model.run(items), strict=True):
        np.testing.assert_array_equal(model.run([item])[0].output, together.output)


def test_what_is_too_large_is_reduced_and_the_output_enlarged(model):
    images = frame(200, 300)
    item = model.prepare(images)
    assert item.content[0] * item.content[1] <= 128 * 160
    (found,) = model.run([item])
    assert found.output.shape[:2] == (200, 300)


def test_the_task_of_the_metadata_decides_their_class(tmp_path, tiny_artifact):
    directory = write_translator(tmp_path / "translator")
    assert type(read_metadata(directory)) is TranslationMetadata
    assert type(read_metadata(tiny_artifact)) is SegmentationMetadata
    assert isinstance(Model.open(directory, threads=1).task, TranslationTask)
    assert set(TASKS) == set(_METADATA)


def test_metadata_of_an_unknown_task_are_refused_with_those_that_are_known(tmp_path):
    directory = write_translator(tmp_path / "translator")
    facts = json.loads((directory / METADATA_NAME).read_text())
    (directory / METADATA_NAME).write_text(json.dumps(facts | {"task": "captioning"}))
    with pytest.raises(ArtifactError, match="'captioning', this geminifusion knows semantic-segmentation, image-tra"):
        read_metadata(directory)


def test_depth_of_16_bits_is_in_millimetres_and_rgb_stays_rgb():
    depth = np.array([[0.0, 0.5, 1.2345, 99.0]], np.float32)
    stored = cv2.imdecode(np.frombuffer(encode_output(depth, "png"), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, [[0, 500, 1234, 65535]])
    image = np.array([[[1, 2, 3]]], np.uint8)
    stored = cv2.imdecode(np.frombuffer(encode_output(image, "png"), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, [[[3, 2, 1]]])
