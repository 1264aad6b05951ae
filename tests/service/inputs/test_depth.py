"""Metres: every way of saying "not measured" is 0, and oddities are told."""

import numpy as np
import pytest

from geminifusion_service.errors import DepthScaleRequiredError, InvalidOptionError, UnsupportedImageError
from geminifusion_service.inputs.depth import to_metres


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
