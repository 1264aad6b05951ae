"""Conversion of stored depth to metres, with warnings about implausible values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import DepthScaleRequiredError, UnsupportedImageError
from geminifusion_runtime.options import SEGMENT_OPTIONS

MILLIMETRE = 0.001
FARTHEST_M = 100_000.0  # beyond the reach of any depth sensor: a number that stands for no data, as float's largest
_NEAREST_PLAUSIBLE_M, _FARTHEST_PLAUSIBLE_M = 0.05, 100.0  # of a model that says no range
_SUSPICIOUS_SHARE = 0.05  # of the pixels, at the farthest reading
_MOST_BEYOND = 0.2  # less than half of the measured pixels, beyond what the network tells apart


@dataclass(frozen=True, kw_only=True)
class DepthImage:
    """Depth in metres, `H W` float32, finite, 0 where nothing was measured, with warnings for the client."""

    metres: NDArray[np.float32]
    num_invalid: int
    warnings: tuple[str, ...] = ()


def to_metres(
    readings: NDArray[np.generic],
    *,
    depth_scale: float | None = None,
    depth_invalid: Sequence[float] = (),
    field: str = "depth",
    trained_range: tuple[float, float] | None = None,
) -> DepthImage:
    """Convert stored depth to metres.

    Args:
        readings: `H W`; uint16 (millimetres unless `depth_scale` is given), uint8 (only with `depth_scale`), or
            floating point (metres unless `depth_scale` is given), of either byte order. 0, negative, NaN, infinite and
            what is farther than `FARTHEST_M` mean "no measurement".
        depth_scale: metres per stored unit.
        depth_invalid: stored values, before scaling, that mean "no measurement" too; compared exactly, floats in
            single precision.
        field: its name in the request, for messages.
        trained_range: metres that the network tells apart, for warnings; None where that is not known.

    Raises:
        DepthScaleRequiredError: uint8 without a scale.
        UnsupportedImageError: another dtype.
        InvalidOptionError: a scale that is no positive number, or too many markers.
    """
    if depth_scale is not None or depth_invalid:
        SEGMENT_OPTIONS.parse_values({"depth_scale": depth_scale, "depth_invalid": tuple(depth_invalid)})
    readings = readings.astype(readings.dtype.newbyteorder("="), copy=False)
    warnings = []
    if readings.dtype == np.uint16 or readings.dtype == np.uint8:
        if depth_scale is None and readings.dtype == np.uint8:
            raise DepthScaleRequiredError(
                f"{field} has 8 bits per pixel, so its unit cannot be known; "
                f"send 16-bit millimetres, or say {field}_scale=<metres per unit>"
            )
        scale = MILLIMETRE if depth_scale is None else depth_scale
        kept = _unmarked(readings, depth_invalid)
        if kept is not None:  # a masked assignment takes many times as long where the holes are scattered
            readings = np.multiply(readings, kept)
        # In single precision, as in training and evaluation.
        metres = np.multiply(readings, np.float32(scale), dtype=np.float32)
        if scale * _largest(readings.dtype) > FARTHEST_M:
            warnings.extend(_absurd_warnings(metres, field))
            metres[metres > FARTHEST_M] = 0
        num_invalid = metres.size - cv2.countNonZero(metres)  # NumPy takes as long for it as for all of the above
    elif readings.dtype.kind == "f":
        num_nan = int(np.count_nonzero(np.isnan(readings)))
        if num_nan:
            warnings.append(f"{field} holds {num_nan} NaN readings, taken as not measured")
        with np.errstate(over="ignore", invalid="ignore"):
            metres = readings.astype(np.float32)
            kept = _unmarked(metres, depth_invalid)
            if depth_scale is not None:
                metres *= np.float32(depth_scale)
            measured = (metres > 0) & (metres <= FARTHEST_M)
        if kept is not None:
            measured &= kept
        num_invalid = metres.size - int(np.count_nonzero(measured))
        if num_invalid:
            warnings.extend(_absurd_warnings(metres, field))
            metres[~measured] = 0
    else:
        raise UnsupportedImageError(
            f"{field} is of dtype {readings.dtype}; send uint16 millimetres or floating-point metres"
        )
    if num_invalid * 2 > metres.size:
        warnings.append(f"{field} has no measurement at {num_invalid / metres.size:.0%} of its pixels")
    warnings.extend(_distance_warnings(readings, metres, field, trained_range))
    return DepthImage(metres=np.ascontiguousarray(metres), num_invalid=num_invalid, warnings=tuple(warnings))


def _unmarked(readings: NDArray[np.generic], markers: Sequence[float]) -> NDArray[np.bool_] | None:
    """Mask of readings that are none of the markers; None if the type can store none of them."""
    kind = readings.dtype
    if kind.kind == "u":  # one that the type cannot hold would be wrapped into it
        markers = [marker for marker in markers if marker == int(marker) and 0 <= marker <= _largest(kind)]
    kept: NDArray[np.bool_] | None = None
    for marker in markers:
        others = np.not_equal(readings, kind.type(marker))
        kept = others if kept is None else np.logical_and(kept, others, out=kept)
    return kept


def _largest(kind: np.dtype[np.generic]) -> int:
    """Largest value of an unsigned type."""
    return int(2 ** (8 * kind.itemsize) - 1)


def _absurd_warnings(metres: NDArray[np.float32], field: str) -> list[str]:
    count = int(np.count_nonzero((metres > FARTHEST_M) & (metres < np.inf)))
    return [f"{field} holds {count} readings farther than {FARTHEST_M / 1000:g} km, taken as not measured"] * (
        count > 0
    )


def _distance_warnings(
    readings: NDArray[np.generic], metres: NDArray[np.float32], field: str, trained_range: tuple[float, float] | None
) -> list[str]:
    """Warn of distances that mark holes, or that the network was not trained on, mostly because of their unit."""
    sample = np.ascontiguousarray(metres[::8, ::8])  # plenty to tell metres from millimetres
    distances = sample[sample > 0]
    if not distances.size:
        return []
    low, high = trained_range or (0.0, _FARTHEST_PLAUSIBLE_M)
    warnings = []
    at = np.unravel_index(sample.argmax(), sample.shape)
    farthest, mark = sample[at], readings[::8, ::8][at]
    if farthest > high or (readings.dtype.kind == "u" and mark == _largest(readings.dtype)):
        others = distances[distances != farthest]
        share = (distances.size - others.size) / sample.size
        if share >= _SUSPICIOUS_SHARE and others.size:
            warnings.append(
                f"{field} is {float(mark):.7g} at {share:.0%} of its pixels, which looks like a mark of no "
                f"measurement; if it is, say {field}_invalid={float(mark):.7g}"
            )
            distances = others
    beyond = np.count_nonzero(distances > high) / distances.size if farthest > high else 0.0
    if distances.min() >= _NEAREST_PLAUSIBLE_M and beyond <= _MOST_BEYOND:
        return warnings  # the median, which takes long, is plausible too
    median = float(np.median(distances))
    trained = "" if trained_range is None else f", and the model was trained on {low:g} to {high:g} m"
    if not _NEAREST_PLAUSIBLE_M <= median <= high:
        warnings.append(
            f"the median {field} is {median:.4g} m{trained}, which looks like a wrong unit; "
            f"say {field}_scale=<metres per unit>"
        )
    elif beyond > _MOST_BEYOND:
        warnings.append(
            f"{field} is farther than {high:g} m at {beyond:.0%} of its measured pixels{trained}: is the unit right "
            f"({field}_scale), and are there marks of no measurement ({field}_invalid)?"
        )
    return warnings
