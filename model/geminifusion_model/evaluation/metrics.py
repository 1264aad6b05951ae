"""Confusion-matrix metrics of semantic segmentation (Long et al., arXiv:1411.4038, sec. 5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class ConfusionMatrix:
    """Counts of (true class, predicted class) over any number of frames.

    Pixels whose true value is no class (the ignore value, or any value of `num_classes` and above) do not count.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Count one frame; both arrays have one shape.

        Raises:
            ValueError: the shapes differ or a prediction is no class.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"labels are {truth.shape}, predictions {predicted.shape}; expected one shape")
        labelled = (truth >= 0) & (truth < self.num_classes)
        pairs = truth[labelled].astype(np.int64) * self.num_classes + predicted[labelled]
        counts = np.bincount(pairs, minlength=self.num_classes**2)
        if len(counts) > self.num_classes**2:
            raise ValueError(f"predictions reach {int(predicted.max())}; expected below {self.num_classes}")
        self.counts += counts.reshape(self.counts.shape)

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union per class in percent; NaN for a class neither present nor predicted."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return _percent(hits, union)

    def class_accuracy(self) -> NDArray[np.float64]:
        """Share of each class's pixels that were found, in percent; NaN for an absent class."""
        return _percent(np.diag(self.counts).astype(np.float64), self.counts.sum(1))

    def miou(self) -> float:
        """Mean of `iou` over the classes that have one, in percent."""
        return float(np.nanmean(self.iou()))

    def mean_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes that are present, in percent."""
        return float(np.nanmean(self.class_accuracy()))

    def pixel_accuracy(self) -> float:
        """Share of labelled pixels with the right class, in percent."""
        return float(100.0 * np.trace(self.counts) / self.counts.sum())


def _percent(part: NDArray[np.float64], whole: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, 100.0 * part / whole, np.nan)
