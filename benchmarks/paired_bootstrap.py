"""The paired bootstrap over frames (Efron, 1979): is one network better than another on the same frames?

Both networks are scored on the same drawn frames, so that frames hard for both do not blur the difference. The result
holds for other frames of the same kind and these weights. It does not include how much another training seed would
change; compare it with the spread over the seeds.

Axes: S seeds, F frames, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.evaluation.intervals import frame_draws, percentile_interval, two_sided_p_value
from geminifusion_model.evaluation.metrics import class_iou, class_mean

DRAWS = 2000
_DRAWS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean mIoU of the first less that of the second, in percent points.

    `low` and `high` bound the middle 95 % of the draws. `p_value` is two-sided: twice the share of draws in which the
    difference is not on its side of 0, and never below 2 / (draws + 1).
    """

    miou: float
    low: float
    high: float
    p_value: float
    draws: int


def mean_miou(matrices: NDArray[np.int64]) -> float:
    """Mean over seeds of the mIoU, in percent, of `S F K K` confusion matrices."""
    return float(class_mean(class_iou(matrices.sum(1))).mean())


def drawn_mious(matrices: NDArray[np.int64], *, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """`mean_miou` of as many frames as there are, drawn with replacement, `draws` times.

    One seed and one number of frames give the same draws for every network.

    Raises:
        ValueError: `matrices` is not `S F K K` with at least one seed and frame.
    """
    if matrices.ndim != 4 or 0 in matrices.shape:
        raise ValueError(f"matrices have shape {matrices.shape}; expected seeds, frames, classes, classes")
    frames, num_classes = matrices.shape[1:3]
    flat = matrices.reshape(len(matrices), frames, -1).astype(np.float64)
    times_drawn = frame_draws(frames, draws=draws, seed=seed)
    found = []
    for begin in range(0, draws, _DRAWS_AT_ONCE):
        counts = times_drawn[begin : begin + _DRAWS_AT_ONCE] @ flat
        found.append(class_mean(class_iou(counts.reshape(*counts.shape[:2], num_classes, num_classes))).mean(0))
    return np.concatenate(found)


def interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of the draws."""
    found = percentile_interval(values, level)
    return found.low, found.high


def difference(first: NDArray[np.int64], second: NDArray[np.int64], *, draws: int = DRAWS, seed: int = 0) -> Difference:
    """Compare two networks, `S F K K` each, with the same frames in the same order; seeds may differ in number.

    Raises:
        ValueError: they were scored on different numbers of frames or classes.
    """
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(f"matrices have shapes {first.shape} and {second.shape}; expected the same frames and classes")
    drawn = drawn_mious(first, draws=draws, seed=seed) - drawn_mious(second, draws=draws, seed=seed)
    low, high = interval(drawn)
    return Difference(
        miou=mean_miou(first) - mean_miou(second),
        low=low,
        high=high,
        p_value=two_sided_p_value(drawn),
        draws=draws,
    )
