"""Made-up inputs: the shapes, types and ranges that the metadata asks for."""

import numpy as np
import pytest

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.dummy_inputs import blank_inputs, random_inputs


@pytest.fixture(scope="module")
def modalities(tiny_artifact):
    return read_metadata(tiny_artifact).modalities


def test_inputs_have_the_shapes_and_types_of_the_graph(modalities):
    for inputs in (blank_inputs(modalities, (2, 20, 30)), random_inputs(modalities, (2, 20, 30))):
        assert {name: (array.shape, array.dtype) for name, array in inputs.items()} == {
            "rgb": ((2, 20, 30, 3), np.uint8),
            "depth": ((2, 20, 30), np.float32),
        }


def test_random_distances_are_those_of_a_room_with_holes(modalities):
    depth = random_inputs(modalities, (4, 100, 100))["depth"]
    assert 0 <= depth.min() <= depth.max() <= 8
    assert (depth == 0).mean() == pytest.approx(0.1, abs=0.01)


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others(modalities):
    first, same, other = (random_inputs(modalities, (1, 20, 30), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["rgb"], same["rgb"])
    np.testing.assert_array_equal(first["depth"], same["depth"])
    assert (first["rgb"] != other["rgb"]).mean() > 0.9
