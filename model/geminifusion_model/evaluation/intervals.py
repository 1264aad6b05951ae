"""Bootstrap intervals (Efron, 1979): how far a score would move with other frames of the same kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.evaluation.metrics import class_iou, class_mean, pixel_accuracy
from geminifusion_model.evaluation.protocols import AbsentClass

_DRAWS_AT_ONCE = 64  # of 40 x 40 classes in float64: under a megabyte


@dataclass(frozen=True)
class Interval:
    """The middle `level` of the bootstrap distribution, in the unit of the score."""

    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.low:.2f} … {self.high:.2f}"


@dataclass(frozen=True, kw_only=True)
class ScoreIntervals:
    """Percentile intervals of the two summary scores, and of the IoU of every class (NaN where it never occurs)."""

    miou: Interval
    pixel_accuracy: Interval
    iou: tuple[Interval, ...]
    draws: int
    seed: int


def bootstrap_intervals(
    matrices: NDArray[np.int64],
    *,
    absent: AbsentClass = "skipped",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ScoreIntervals:
    """Draw as many frames as there are, with replacement, and score their sum, `draws` times.

    Frames, not pixels, are drawn: pixels of one frame are not independent of each other. Neither are neighboring
    frames of one video, so for such data the intervals are too narrow.

    Args:
        matrices: `frames K K`, one confusion matrix per frame.

    Raises:
        ValueError: there is no frame, or `draws` or `level` makes no sense.
    """
    if matrices.ndim != 3 or not len(matrices):
        raise ValueError(f"matrices have shape {matrices.shape}; expected frames K K with at least one frame")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws is {draws} and level {level}; expected at least 1, and 0 < level < 1")
    frames, num_classes = matrices.shape[:2]
    flat = matrices.reshape(frames, -1).astype(np.float64)
    times_drawn = frame_draws(frames, draws=draws, seed=seed)
    miou, accuracy, iou = [], [], []
    for begin in range(0, draws, _DRAWS_AT_ONCE):
        counts = (times_drawn[begin : begin + _DRAWS_AT_ONCE] @ flat).reshape(-1, num_classes, num_classes)
        per_class = class_iou(counts)
        iou.append(per_class)
        miou.append(class_mean(per_class, absent))
        accuracy.append(pixel_accuracy(counts))
    return ScoreIntervals(
        miou=percentile_interval(np.concatenate(miou), level),
        pixel_accuracy=percentile_interval(np.concatenate(accuracy), level),
        iou=tuple(percentile_interval(values, level) for values in np.concatenate(iou).T),
        draws=draws,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """A score of the first less that of the second, on the same frames.

    `interval` holds the middle of the draws; for `p_value` see `two_sided_p_value`.
    """

    value: float
    interval: Interval
    p_value: float
    draws: int


def frame_draws(frames: int, *, draws: int, seed: int) -> NDArray[np.int64]:
    """How often each of `frames` is drawn, `draws frames`: as many as there are, with replacement.

    One seed and one number of frames give the same draws for every network.
    """
    return np.random.default_rng(seed).multinomial(frames, np.full(frames, 1.0 / frames), size=draws)


def two_sided_p_value(drawn: NDArray[np.float64]) -> float:
    """Twice the share of drawn differences that are not on their side of 0, never below 2 / (draws + 1)."""
    on_other_side = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(2.0 * (on_other_side + 1) / (len(drawn) + 1), 1.0)


def percentile_interval(values: NDArray[np.float64], level: float = 0.95) -> Interval:
    """The middle `level` of the draws; NaN where none is a number."""
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval(float("nan"), float("nan"), level)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)
