"""Our run lengths are Label Studio's, byte for byte by its own encoder and back through its own decoder."""

import numpy as np
import pytest

from geminifusion.labeling.brush_rle import encode_brush

brush = pytest.importorskip("label_studio_converter.brush")


def mask_of(kind, height, width):
    rows, columns = np.mgrid[:height, :width]
    return {
        "all": np.ones((height, width), bool),
        "none": np.zeros((height, width), bool),
        "checks": (rows + columns) % 2 == 0,
        "disc": (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 3) ** 2,
        "noise": np.random.default_rng(height).random((height, width)) < 0.1,
    }[kind]


@pytest.mark.parametrize("kind", ["all", "none", "checks", "disc", "noise"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (50, 70), (128, 128)])
def test_bytes_are_those_of_label_studio(kind, height, width):
    mask = mask_of(kind, height, width)
    assert encode_brush(mask) == brush.mask2rle(mask.astype(np.uint8) * 255)


@pytest.mark.parametrize("pixels", [2, 3, 4, 5, 64, 65, 2**14 - 1, 2**14, 2**14 + 1, 3 * 2**14])
def test_every_length_of_a_run_is_read_back(pixels):
    """Around the ends of each size of a run, which counts four values a pixel."""
    mask = np.zeros((1, pixels + 2), bool)
    mask[0, 1:-1] = True
    encoded = encode_brush(mask)
    assert encoded == brush.mask2rle(mask.astype(np.uint8) * 255)
    np.testing.assert_array_equal(brush.decode_rle(encoded).reshape(1, -1, 4)[..., 3], mask * 255)
