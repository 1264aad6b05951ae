"""Confusion-matrix metrics of semantic segmentation (Long et al., arXiv:1411.4038, sec. 5), all in percent.

Axes: K classes. A matrix counts (true class, predicted class); `… K K` is any number of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.evaluation.protocols import AbsentClass

Counts = NDArray[np.integer | np.floating]


def class_iou(counts: Counts) -> NDArray[np.float64]:
    """Intersection over union, `… K K` to `… K`; NaN for a class neither present nor predicted."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return _percent(hits, counts.sum(-2) + counts.sum(-1) - hits)


def class_accuracy(counts: Counts) -> NDArray[np.float64]:
    """Share of each class's pixels that were found, `… K K` to `… K`; NaN for an absent class."""
    return _percent(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1))


def pixel_accuracy(counts: Counts) -> NDArray[np.float64]:
    """Share of labeled pixels with the right class, `… K K` to `…`; NaN without a labeled pixel."""
    return _percent(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)))


def class_mean(per_class: NDArray[np.float64], absent: AbsentClass = "skipped") -> NDArray[np.float64]:
    """Mean over the last axis, `… K` to `…`; NaN is left out (`skipped`) or 0 (`zero`)."""
    if absent == "zero":
        return np.asarray(np.nan_to_num(per_class, nan=0.0).mean(-1))
    known = ~np.isnan(per_class)
    return _percent(np.where(known, per_class, 0.0).sum(-1) / 100.0, known.sum(-1))


class ConfusionMatrix:
    """Counts of (true class, predicted class) over any number of frames.

    Pixels whose true value is no class (the ignore value, or any value of `num_classes` and above) do not count.

    Args:
        absent: what a class neither present nor predicted does to the means.
    """

    def __init__(self, num_classes: int, absent: AbsentClass = "skipped") -> None:
        self.num_classes, self.absent = num_classes, absent
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> NDArray[np.int64]:
        """Count one frame, both arrays of one shape; returns this frame's own `K K` counts.

        Raises:
            ValueError: the shapes differ or a prediction is no class.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"labels are {truth.shape}, predictions {predicted.shape}; expected one shape")
        labeled = (truth >= 0) & (truth < self.num_classes)
        found = predicted[labeled]
        if found.size and int(found.max()) >= self.num_classes:
            raise ValueError(f"predictions reach {int(found.max())}; expected below {self.num_classes}")
        pairs = truth[labeled].astype(np.int64) * self.num_classes + found
        counts = np.bincount(pairs, minlength=self.num_classes**2).reshape(self.counts.shape)
        self.counts += counts
        return counts

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union per class; NaN for a class neither present nor predicted."""
        return class_iou(self.counts)

    def class_accuracy(self) -> NDArray[np.float64]:
        """Share of each class's pixels that were found; NaN for an absent class."""
        return class_accuracy(self.counts)

    def miou(self) -> float:
        """Mean of `iou` over the classes; NaN without a labeled pixel."""
        return float(class_mean(self.iou(), self.absent))

    def mean_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes."""
        return float(class_mean(self.class_accuracy(), self.absent))

    def pixel_accuracy(self) -> float:
        """Share of labeled pixels with the right class."""
        return float(pixel_accuracy(self.counts))


def _percent(part: Counts, whole: Counts) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, 100.0 * part / whole, np.nan)
