"""Metres: every way of saying "not measured" is 0, and oddities are told."""

import numpy as np
import pytest

from geminifusion_runtime.decoding.depth import to_metres
from geminifusion_runtime.errors import DepthScaleRequiredError, InvalidOptionError, UnsupportedImageError


def test_uint16_is_millimetres_unless_a_scale_says_otherwise():
    readings = np.array([[0, 1500]], np.uint16)
    np.testing.assert_array_equal(to_metres(readings).metres, readings * np.float32(0.001))
    assert to_metres(readings, depth_scale=0.0002).metres[0, 1] == pytest.approx(0.3)


def test_floats_are_metres_unless_a_scale_says_otherwise():
    readings = np.array([[1500.0]])
    assert to_metres(readings).metres.tolist() == [[1500.0]]
    assert to_metres(readings, depth_scale=0.001).metres[0, 0] == pytest.approx(1.5)


def test_zero_nan_infinite_and_negative_mean_not_measured():
    depth = to_metres(np.array([[1.5, 0.0, np.nan, np.inf, -np.inf, -1.0]], np.float32))
    assert depth.metres.tolist() == [[1.5, 0, 0, 0, 0, 0]]
    assert depth.num_invalid == 5


def test_a_double_too_large_for_a_float_is_not_measured():
    assert to_metres(np.array([[1e300, 1.0]])).metres.tolist() == [[0.0, 1.0]]


def test_nan_and_a_mostly_empty_image_are_told():
    nan, empty = to_metres(np.array([[1.0, np.nan, np.nan]])).warnings
    assert "2 NaN" in nan
    assert "67%" in empty


@pytest.mark.parametrize("readings", [np.full((8, 8), 1500.0), np.full((8, 8), 12, np.uint16)])
def test_a_wrong_unit_is_told(readings):
    (warning,) = to_metres(readings).warnings
    assert "depth_scale" in warning


def test_nothing_measured_at_all_is_told_once():
    assert len(to_metres(np.zeros((4, 4), np.uint16)).warnings) == 1


def test_the_input_is_left_as_it_was():
    readings = np.array([[np.nan, 1.0]], np.float32)
    to_metres(readings)
    assert np.isnan(readings[0, 0])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_no_positive_number_is_refused(scale):
    with pytest.raises(InvalidOptionError, match="depth_scale"):
        to_metres(np.ones((2, 2), np.uint16), depth_scale=scale)


def test_8_bits_without_a_scale_and_other_types_are_refused():
    with pytest.raises(DepthScaleRequiredError):
        to_metres(np.ones((2, 2), np.uint8))
    with pytest.raises(UnsupportedImageError, match="int64"):
        to_metres(np.ones((2, 2), np.int64))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64, np.uint8])
def test_marked_readings_are_not_measured(dtype):
    readings = np.array([[255, 17], [2, 0]], dtype)
    scale = 0.5 if dtype == np.uint8 else 1.0
    depth = to_metres(readings, depth_scale=scale, depth_invalid=(255.0, 17.0))
    np.testing.assert_array_equal(depth.metres, np.array([[0, 0], [2 * scale, 0]], np.float32))
    assert depth.num_invalid == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_marks_of_floats_are_compared_in_single_precision(dtype):
    readings = np.array([[0.1, np.float32(0.1), 0.1 + 1e-12, 0.1001]], dtype)
    depth = to_metres(readings, depth_scale=2.0, depth_invalid=(0.1, 1e300))
    np.testing.assert_array_equal(depth.metres, np.float32([[0, 0, 0, 0.2002]]))
    assert depth.num_invalid == 3


def test_a_mark_that_an_integer_type_cannot_hold_marks_nothing():
    for marker in (65536.0, -1.0, 1.5):  # would wrap to 0, 65535 or 1
        readings = np.array([[0, 65535], [1, 2]], np.uint16)
        depth = to_metres(readings, depth_scale=1.0, depth_invalid=(marker,))
        np.testing.assert_array_equal(depth.metres, readings.astype(np.float32))


def test_marking_leaves_the_readings_of_the_caller_as_they_are():
    for readings in (np.array([[65535, 7]], np.uint16), np.array([[65535, 7]], np.float32)):
        before = readings.copy()
        assert to_metres(readings, depth_invalid=(65535.0,)).num_invalid == 1
        np.testing.assert_array_equal(readings, before)


def test_minus_one_marks_a_hole_in_floats_anyway():
    assert to_metres(np.array([[-1.0, 2.0]], np.float32), depth_invalid=(-1.0,)).num_invalid == 1


@pytest.mark.parametrize("markers", [(float("nan"),), (float("inf"),), tuple(map(float, range(9)))])
def test_marks_that_nobody_could_mean_are_refused(markers):
    with pytest.raises(InvalidOptionError, match=r"depth_invalid is (nan|inf|9 values), expected"):
        to_metres(np.ones((2, 2), np.uint16), depth_invalid=markers)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint16, 65535), (np.uint8, 255)])
def test_many_largest_values_look_like_marks_and_are_named(dtype, largest):
    readings = np.full((64, 64), 3, dtype)
    readings[:8] = largest
    (warning,) = [text for text in to_metres(readings, depth_scale=0.5).warnings if "depth_invalid" in text]
    assert f"depth_invalid={largest}" in warning
    assert not any("mark" in text for text in to_metres(readings, depth_scale=0.5, depth_invalid=(largest,)).warnings)
    assert not any("mark" in text for text in to_metres(np.minimum(readings, 9), depth_scale=0.5).warnings)


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">f4", "<f4", ">f8"])
def test_the_byte_order_of_an_array_changes_nothing(dtype):
    readings = np.array([[0, 1500, 2500]]).astype(dtype)
    expected = np.float32([[0, 1500, 2500]]) * np.float32(1 if dtype[1] == "f" else 0.001)
    np.testing.assert_array_equal(to_metres(readings).metres, expected)


@pytest.mark.parametrize("absurd", [np.finfo(np.float32).max, 5e37, 1e6])
def test_what_cannot_be_a_distance_is_not_measured(absurd):
    depth = to_metres(np.array([[1.5, absurd]], np.float32))
    assert depth.metres.tolist() == [[1.5, 0]]
    assert "farther than 100 km" in depth.warnings[0]
    assert to_metres(np.array([[1, 60000]], np.uint16), depth_scale=1000.0).metres.tolist() == [[1000, 0]]


SCENE = np.linspace(1200, 3000, 64 * 64).reshape(64, 64)  # millimetres
WRONG = {
    "5000 a metre": ((SCENE * 5).astype(np.uint16), "depth_scale"),
    "a quarter of a millimetre": ((SCENE * 4).astype(np.uint16), "depth_scale"),
    "bits rotated": (SCENE.astype(np.uint16) << 3, "depth_scale"),
    "a far plane": (np.where(SCENE > 2300, 10_000, SCENE / 1000).astype(np.float32), "depth_invalid=10000"),
    "the largest float16": (np.where(SCENE > 2300, 65504, SCENE / 1000).astype(np.float16), "depth_invalid=65504"),
}


@pytest.mark.parametrize("case", WRONG)
def test_distances_that_the_model_was_not_trained_on_are_told(case):
    readings, advice = WRONG[case]
    (warning,) = to_metres(readings, trained_range=(0.0, 10.0)).warnings
    assert advice in warning


def test_the_range_of_the_model_decides_what_is_far():
    street = np.linspace(5, 300, 64 * 64).reshape(64, 64).astype(np.float32)
    assert to_metres(street, trained_range=(0.0, 655.35)).warnings == ()
    assert to_metres(street, trained_range=(0.0, 80.0)).warnings != ()
    assert to_metres(SCENE.astype(np.uint16), trained_range=(0.0, 10.0)).warnings == ()
