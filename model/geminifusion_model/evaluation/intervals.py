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
    rng = np.random.default_rng(seed)
    times_drawn = rng.multinomial(frames, np.full(frames, 1.0 / frames), size=draws)
    miou, accuracy, iou = [], [], []
    for begin in range(0, draws, _DRAWS_AT_ONCE):
        counts = (times_drawn[begin : begin + _DRAWS_AT_ONCE] @ flat).reshape(-1, num_classes, num_classes)
        per_class = class_iou(counts)
        iou.append(per_class)
        miou.append(class_mean(per_class, absent))
        accuracy.append(pixel_accuracy(counts))
    return ScoreIntervals(
        miou=_percentiles(np.concatenate(miou), level),
        pixel_accuracy=_percentiles(np.concatenate(accuracy), level),
        iou=tuple(_percentiles(values, level) for values in np.concatenate(iou).T),
        draws=draws,
        seed=seed,
    )


def _percentiles(values: NDArray[np.float64], level: float) -> Interval:
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval(float("nan"), float("nan"), level)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)
