"""How far two sets of boxes of one frame agree, for verification and self-tests."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.boxes import wrap_angle
from geminifusion_runtime.detection.results import FrameBoxes

LEAST_AGREEMENT: Final = 0.95  # of the boxes with torch's; the last of equals may be another
_SAME_M = 0.02  # metres, and radians: far below what a detector is right to
_SAME_SCORE = 0.01


def as_rows(found: FrameBoxes) -> NDArray[np.float32]:
    """Boxes as rows `n 9`: x, y, z, dx, dy, dz, yaw, score, class."""
    boxes, scores, labels = found.detections
    return np.column_stack([boxes, scores, labels]).astype(np.float32).reshape(-1, 9)


def agreement(one: NDArray[np.generic], other: NDArray[np.generic]) -> tuple[int, int]:
    """Boxes of `as_rows` that both have, and all that either has; two frames without boxes agree."""
    left, right = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if not len(left) and not len(right):
        return 1, 1
    differences = np.abs(left[:, None] - right[None])
    differences[..., 6] = np.abs(wrap_angle(left[:, None, 6] - right[None, :, 6]))
    same = (
        (differences[..., :7] <= _SAME_M).all(axis=2)
        & (differences[..., 7] <= _SAME_SCORE)
        & (differences[..., 8] == 0)
    )
    matched = min(int(same.any(axis=1).sum()), int(same.any(axis=0).sum()))
    return matched, len(left) + len(right) - matched
