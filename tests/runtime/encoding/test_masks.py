"""Encoded masks, read back by decoders that are not ours."""

import io

import cv2
import numpy as np

from geminifusion_runtime.artifact import ClassSpec
from geminifusion_runtime.encoding.class_shares import class_shares
from geminifusion_runtime.encoding.masks import index_png, overlay_png
from geminifusion_runtime.npz_encoder import npz

PALETTE = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
LABELS = np.random.default_rng(3).integers(0, 3, (23, 37), dtype=np.uint8)


def read(png, flags=cv2.IMREAD_UNCHANGED):
    return cv2.imdecode(np.frombuffer(png, np.uint8), flags)


def test_an_index_png_holds_the_labels_themselves():
    np.testing.assert_array_equal(read(index_png(LABELS)), LABELS)


def test_a_palette_png_shows_the_class_colours():
    shown = read(index_png(LABELS, PALETTE), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(shown, np.array(PALETTE, np.uint8)[LABELS])


def test_an_index_beyond_the_palette_is_black():
    shown = read(index_png(np.full((2, 2), 9, np.uint8), PALETTE), cv2.IMREAD_COLOR_RGB)
    assert not shown.any()


def test_an_overlay_blends_the_class_colours_evenly():
    rgb = np.full((*LABELS.shape, 3), 100, np.uint8)
    shown = read(overlay_png(rgb, LABELS, PALETTE), cv2.IMREAD_COLOR_RGB)
    expected = 0.5 * rgb + 0.5 * np.array(PALETTE, np.float32)[LABELS]
    assert np.abs(shown - expected).max() <= 0.5


def test_an_npz_loads_without_pickle():
    arrays = {"labels": LABELS, "gate": np.ones((2, 3), np.float32)}
    with np.load(io.BytesIO(npz(arrays)), allow_pickle=False) as loaded:
        assert set(loaded) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name], array)


CLASSES = tuple(
    ClassSpec(id=i, name=name, color=color) for i, (name, color) in enumerate(zip("abc", PALETTE, strict=True))
)


def test_class_shares_are_sorted_by_size_and_leave_out_what_is_absent():
    labels = np.array([[0, 2, 2, 2]], np.uint8)
    depth = np.array([[1.0, 2.0, 0.0, 4.0]], np.float32)
    first, second = class_shares(labels, depth, CLASSES)
    assert (first.id, first.name, first.color, first.pixels, first.fraction) == (2, "c", (0, 0, 255), 3, 0.75)
    assert first.median_depth_m == 3.0  # the unmeasured pixel does not count
    assert (second.id, second.median_depth_m) == (0, 1.0)


def test_a_class_nobody_measured_has_no_distance():
    (only,) = class_shares(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.float32), CLASSES)
    assert only.median_depth_m is None
    (only,) = class_shares(np.zeros((2, 2), np.uint8), None, CLASSES)
    assert only.median_depth_m is None
