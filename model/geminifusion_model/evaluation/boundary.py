"""Boundary F-score: how well outlines are drawn (Csurka et al., BMVC 2013, "What is a good evaluation measure…").

A pixel of a class lies on its outline if one of its four neighbors does not belong to it. Per frame and class,
precision is the share of predicted outline pixels with a true one near, recall the reverse, and F their harmonic mean.
A class's score is the mean of F over the frames where it is present or predicted.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.evaluation.metrics import class_mean
from geminifusion_model.evaluation.prediction import ScoredFrame

Mask = NDArray[np.bool_]


class BoundaryScore:
    """The boundary F-score over any number of frames.

    Hand-drawn labels often leave a strip unlabeled between two objects, so both end where it begins; a predicted
    outline within it counts if a true one is near, and is not held against the network if none is. The frame's edge
    is no outline.

    Args:
        tolerance: how near is near, as a share of the frame's diagonal; 0.0075 is the paper's.
    """

    def __init__(self, num_classes: int, tolerance: float = 0.0075) -> None:
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance is {tolerance}; expected a share of the diagonal between 0 and 1")
        self.tolerance = tolerance
        self.sums = np.zeros(num_classes)
        self.frames = np.zeros(num_classes, np.int64)

    def add(self, frame: ScoredFrame) -> None:
        """Take one frame into account."""
        truth, labeled = frame.truth, frame.labeled
        distance = self.tolerance * math.hypot(*truth.shape)
        for label in np.union1d(truth[labeled], frame.labels[labeled]):
            score = f_score(_outline(truth == label), _outline(frame.labels == label), distance, labeled)
            if score is not None:
                self.sums[label] += score
                self.frames[label] += 1

    def per_class(self) -> NDArray[np.float64]:
        """F per class in percent; NaN for a class without an outline in any frame."""
        with np.errstate(invalid="ignore"):
            return 100.0 * self.sums / self.frames

    def mean(self) -> float:
        """Mean of `per_class` over the classes that have one."""
        return float(class_mean(self.per_class()))


def f_score(truth: Mask, found: Mask, distance: float, judged: Mask) -> float | None:
    """F of two sets of pixels within `distance` pixels of each other.

    Args:
        truth, found: `H W`.
        judged: `H W`; what is found outside counts only if it is right.

    Returns:
        0…1; None if there is nothing to be right or wrong about.
    """
    near = found & (_distance_to(truth) <= distance)
    counted = int((near | (found & judged)).sum())
    if not counted and not truth.any():
        return None
    if not near.any():
        return 0.0
    precision = float(near.sum()) / counted
    recall = float((_distance_to(found)[truth] <= distance).mean())
    return 2 * precision * recall / (precision + recall)


def _distance_to(pixels: Mask) -> NDArray[np.floating]:
    """`H W` Euclidean distances to the nearest of `pixels`; infinite if there are none."""
    if not pixels.any():
        return np.full(pixels.shape, np.inf)
    return np.asarray(cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def _outline(region: Mask) -> Mask:
    outline = np.zeros_like(region)
    for before, after in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        ends = region[before] != region[after]
        outline[before] |= ends
        outline[after] |= ends
    return outline & region
