"""Assessment of a sensor from one of its frames."""

from __future__ import annotations

import math
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.types import SensorHealth

T = TypeVar("T", bound=np.generic)
_WHITE = (255, 255, 255)
_NEARLY_BLACK = (10, 10, 10)

# Limits that no frame of a working camera exceeds; a response to one beyond them would be meaningless.
_MOST_HOLES = 0.95
_MOST_SATURATED = 0.9
_MOST_DARK = 0.95
_MOST_NOISE_COLOR = 50.0  # grey levels; pure noise has 74
_MOST_NOISE_DEPTH = 0.25  # of the median distance; pure noise has about 0.6

_LARGEST_IN_SINGLE = 1e15  # whose squares and sums single precision still holds
_MOST_OUTSIDE = 0.99  # of the measured pixels, beyond the range that the network tells apart: it sees a constant

_DARK_MEAN = 25.0  # of 255; a frame that is brighter on average has too few dark pixels to matter
_STEP = 4  # shares are counted on every fourth row, for depth on every fourth column too: precise to a percent
_PATCH = 256  # the side, in pixels, of the middle of the frame that noise is estimated on
# The difference of two Laplacians, which is zero on an even slope.
_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def color_health(image: NDArray[np.uint8]) -> SensorHealth:
    """Assess a colour frame, `H W 3`."""
    rows = np.ascontiguousarray(image[::_STEP])
    by_row = rows.reshape(len(rows), -1)  # NumPy is slow along an axis of three, so that comes last
    brightest, darkest = by_row.max(axis=0).reshape(-1, 3).max(axis=0), by_row.min(axis=0).reshape(-1, 3).min(axis=0)
    saturated = 0.0
    if brightest.min() == 255:
        saturated = cv2.countNonZero(cv2.inRange(rows, _WHITE, _WHITE)) / (rows.shape[0] * rows.shape[1])
    noise = _noise(cv2.cvtColor(_middle(image), cv2.COLOR_RGB2GRAY).astype(np.float32))
    dark = 0.0
    if sum(cv2.mean(rows)) < 3 * _DARK_MEAN:  # of the channels; NumPy's takes as long as everything else here
        dark = cv2.countNonZero(cv2.inRange(rows, (0, 0, 0), _NEARLY_BLACK)) / (rows.shape[0] * rows.shape[1])
    problem = None
    if int((brightest - darkest).max()) <= 1:
        problem = "every pixel has the same colour"
    elif dark > _MOST_DARK:
        problem = f"{dark:.0%} of the pixels are nearly black"
    elif saturated > _MOST_SATURATED:
        problem = f"{saturated:.0%} of the pixels are overexposed"
    elif noise > _MOST_NOISE_COLOR:
        problem = f"it is noise (standard deviation {noise:.0f} of 255)"
    return SensorHealth(holes=0.0, saturated=saturated, noise=noise, problem=problem)


def depth_health(metres: NDArray[np.float32], trained_range: tuple[float, float] | None = None) -> SensorHealth:
    """Assess a depth frame, `H W` metres, 0 where nothing was measured.

    Args:
        metres: of `to_metres`.
        trained_range: metres that the network tells apart; None where that is not known.
    """
    sample = metres[::_STEP, ::_STEP]
    measured = sample[sample > 0]
    holes = 1 - measured.size / sample.size
    if holes > _MOST_HOLES:
        return SensorHealth(holes=holes, saturated=0.0, noise=0.0, problem=f"{holes:.0%} of it is not measured")
    nearest, farthest = float(measured.min()), float(measured.max())
    saturated = np.count_nonzero(measured == farthest) / measured.size
    patch = _middle(metres)
    measured_there = np.greater(patch, 0).astype(np.uint8)
    noise = _noise(patch, valid=cv2.erode(measured_there, np.ones((3, 3), np.uint8)).astype(np.uint8, copy=False))
    problem = None
    if farthest == nearest:
        problem = f"every pixel is {farthest:.4g} m away"
    elif saturated > _MOST_SATURATED:
        problem = f"{saturated:.0%} of the pixels are at the farthest distance"
    elif trained_range is not None and _is_outside(measured, trained_range, nearest, farthest):
        problem = _outside_text(trained_range, " m")
    elif noise > _MOST_NOISE_DEPTH * nearest and noise > _MOST_NOISE_DEPTH * float(np.median(measured)):
        problem = f"it is noise (standard deviation {noise:.2g} m)"
    return SensorHealth(holes=holes, saturated=saturated, noise=noise, problem=problem)


def picture_health(pixels: NDArray[np.generic], spec: ModalitySpec) -> SensorHealth:
    """Assess a picture of another sensor, as `ModalitySpec` describes it; NaN where nothing was measured.

    Event and LiDAR pictures are sparse and look like noise, so neither an empty background nor noise is a problem.
    """
    sample = pixels[::_STEP, ::_STEP].astype(np.float32)
    finite = np.isfinite(sample)
    measured = sample[finite]
    holes = 1 - measured.size / sample.size
    if holes > _MOST_HOLES:
        return SensorHealth(holes=holes, saturated=0.0, noise=0.0, problem=f"{holes:.0%} of it is not measured")
    top = 255.0 if spec.unit == "intensity" else spec.range[1]
    saturated = float((measured >= top).mean())
    patch = _middle(pixels).astype(np.float32)
    grey = patch.mean(axis=2, dtype=np.float64) if patch.ndim == 3 else patch
    inside = np.isfinite(grey).astype(np.uint8)
    if inside.all():
        noise = _noise(grey)
    else:
        eroded = cv2.erode(inside, np.ones((3, 3), np.uint8)).astype(np.uint8, copy=False)
        noise = _noise(np.nan_to_num(grey, posinf=0.0, neginf=0.0), valid=eroded)
    least, largest = float(measured.min()), float(measured.max())
    problem = None
    if least == largest:
        problem = f"every pixel is {least:.4g}"
    elif spec.unit == "count" and _is_outside(measured, spec.range, least, largest):
        problem = _outside_text(spec.range, "")
    elif saturated > _MOST_SATURATED and spec.channels == 1:
        problem = f"{saturated:.0%} of the pixels are at the end of the range"
    return SensorHealth(holes=holes, saturated=saturated, noise=noise, problem=problem)


def _is_outside(
    measured: NDArray[np.float32], trained_range: tuple[float, float], least: float, largest: float
) -> bool:
    """Whether all but a few values are; those of most frames are all inside, as their extremes tell."""
    low, high = trained_range
    if low <= least and largest <= high:
        return False
    outside = np.count_nonzero(measured > high) + (np.count_nonzero(measured < low) if least < low else 0)
    return bool(outside > _MOST_OUTSIDE * measured.size)


def _outside_text(trained_range: tuple[float, float], unit: str) -> str:
    low, high = trained_range
    return f"it is outside {low:g} to {high:g}{unit}, what the model was trained on, so the model sees a constant"


def _middle(image: NDArray[T]) -> NDArray[T]:
    height, width = image.shape[:2]
    top, left = max(0, (height - _PATCH) // 2), max(0, (width - _PATCH) // 2)
    return image[top : top + _PATCH, left : left + _PATCH]


def _noise(image: NDArray[np.floating], valid: NDArray[np.uint8] | None = None) -> float:
    if min(image.shape) < 3:
        return 0.0
    if cv2.norm(image, cv2.NORM_INF) < _LARGEST_IN_SINGLE:
        response = cv2.filter2D(image.astype(np.float32, copy=False), cv2.CV_32F, _KERNEL)[1:-1, 1:-1]
    else:  # double precision takes twice as long, but no number that an image can hold overflows
        response = cv2.filter2D(image.astype(np.float64), cv2.CV_64F, _KERNEL)[1:-1, 1:-1]
    inside = None if valid is None else valid[1:-1, 1:-1]
    count = response.size if inside is None else cv2.countNonZero(np.ascontiguousarray(inside))
    total = cv2.norm(response, cv2.NORM_L1, inside)
    return float(total) / count * math.sqrt(math.pi / 2) / 6 if count else 0.0
