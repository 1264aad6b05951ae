"""Our PNG writer, read back by OpenCV."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from geminifusion_runtime.png_encoder import encode_png


def decoded(data, flags=cv2.IMREAD_UNCHANGED):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (31, 17), (48, 64)])
def test_grey_depth_and_colour_come_back_unchanged(height, width):
    rng = np.random.default_rng(height)
    grey = rng.integers(0, 256, (height, width)).astype(np.uint8)
    depth = rng.integers(0, 65536, (height, width)).astype(np.uint16)
    rgb = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decoded(encode_png(grey)), grey)
    np.testing.assert_array_equal(decoded(encode_png(depth)), depth)
    np.testing.assert_array_equal(decoded(encode_png(rgb))[:, :, ::-1], rgb)


def test_arrays_that_are_not_contiguous_come_back_unchanged():
    bgr = np.random.default_rng(0).integers(0, 256, (6, 10, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decoded(encode_png(bgr[::2, ::-1, ::-1])), bgr[::2, ::-1])


def test_palette_gives_each_index_its_colour():
    palette = np.array([[0, 0, 0], [255, 0, 0], [1, 2, 3]], np.uint8)
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    pixels = decoded(encode_png(indices, palette), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(pixels[:, :, ::-1], palette[indices])


@pytest.mark.parametrize(
    ("pixels", "palette"),
    [
        (np.zeros((2, 2), np.float32), None),
        (np.zeros((0, 2), np.uint8), None),
        (np.zeros((2, 2, 4), np.uint8), None),
        (np.full((2, 2), 3, np.uint8), np.zeros((3, 3), np.uint8)),
        (np.zeros((2, 2), np.uint16), np.zeros((3, 3), np.uint8)),
    ],
)
def test_what_png_cannot_hold_is_refused(pixels, palette):
    with pytest.raises(ValueError, match="HxW"):
        encode_png(pixels, palette)


def test_without_ISA_L_the_pixels_are_the_same(tmp_path):
    code = f"""
import sys
sys.modules["isal"] = None
import numpy as np
from geminifusion_runtime.png_encoder import encode_png
depth = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
open({str(tmp_path / "depth.png")!r}, "wb").write(encode_png(depth))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    np.testing.assert_array_equal(decoded((tmp_path / "depth.png").read_bytes()), expected)
