"""Conversion of stored depth to metres, with warnings about implausible values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import DepthScaleRequiredError, UnsupportedImageError
from geminifusion_runtime.options import parse_values

MILLIMETRE = 0.001
_FARTHEST_PLAUSIBLE_M = 100.0
_NEAREST_PLAUSIBLE_M = 0.05
_SUSPICIOUS_SHARE = 0.05


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
) -> DepthImage:
    """Convert stored depth to metres.

    Args:
        readings: `H W`; uint16 (millimetres unless `depth_scale` is given), uint8 (only with `depth_scale`), or
            floating point (metres unless `depth_scale` is given). 0, negative, NaN and infinite mean "no measurement".
        depth_scale: metres per stored unit.
        depth_invalid: stored values, before scaling, that mean "no measurement" too; compared exactly, floats in
            single precision.
        field: its name in the request, for messages.

    Raises:
        DepthScaleRequiredError: uint8 without a scale.
        UnsupportedImageError: another dtype.
        InvalidOptionError: a scale that is no positive number, or too many markers.
    """
    parse_values({"depth_scale": depth_scale, "depth_invalid": tuple(depth_invalid)})
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
        num_invalid = metres.size - int(np.count_nonzero(readings))
        warnings.extend(_marker_warnings(readings, depth_invalid, field))
    elif readings.dtype.kind == "f":
        num_nan = int(np.count_nonzero(np.isnan(readings)))
        if num_nan:
            warnings.append(f"{field} holds {num_nan} NaN readings, taken as not measured")
        with np.errstate(over="ignore", invalid="ignore"):
            metres = readings.astype(np.float32)
            kept = _unmarked(metres, depth_invalid)
            if depth_scale is not None:
                metres *= np.float32(depth_scale)
            measured = (metres > 0) & (metres < np.inf)
        if kept is not None:
            measured &= kept
        num_invalid = metres.size - int(np.count_nonzero(measured))
        if num_invalid:
            metres[~measured] = 0
    else:
        raise UnsupportedImageError(
            f"{field} is of dtype {readings.dtype}; send uint16 millimetres or floating-point metres"
        )
    if num_invalid * 2 > metres.size:
        warnings.append(f"{field} has no measurement at {num_invalid / metres.size:.0%} of its pixels")
    warnings.extend(_unit_warnings(metres, field))
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


def _marker_warnings(readings: NDArray[np.generic], markers: Sequence[float], field: str) -> list[str]:
    """Warn of a hole that is marked by the largest value, as by many cameras: read as a distance, it is a far wall."""
    largest = _largest(readings.dtype)
    sample = readings[::8, ::8]
    share = np.count_nonzero(sample == largest) / max(1, sample.size)
    if share < _SUSPICIOUS_SHARE or largest in markers:
        return []
    return [
        f"{field} is {largest} at {share:.0%} of its pixels, which looks like a mark of no measurement; "
        f"if it is, say {field}_invalid={largest}"
    ]


def _unit_warnings(metres: NDArray[np.float32], field: str) -> list[str]:
    sample = metres[::8, ::8]  # plenty to tell metres from millimetres
    sample = sample[sample > 0]
    if not sample.size:
        return []
    median = float(np.median(sample))
    if _NEAREST_PLAUSIBLE_M <= median <= _FARTHEST_PLAUSIBLE_M:
        return []
    return [f"the median {field} is {median:.4g} m, which looks like a wrong unit; say {field}_scale=<metres per unit>"]
