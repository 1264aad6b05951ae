"""What the head should say for every anchor of a frame.

Each class's anchors are compared with that class's boxes only, by the overlap of axis-aligned stand-ins seen from
above.

Axes: N anchors of the map, M anchors of one class, n boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.detection.config import DetectorConfig
from geminifusion_runtime.detection.anchors import anchor_boxes, encoded_boxes
from geminifusion_runtime.detection.boxes import BOX_NUMBERS, limit_period

_NEGATIVE, _OPEN = -1, -2  # besides the index of a box; what is open does not count


class Targets(NamedTuple):
    """Targets of a batch; anchors in the order row, column, class, yaw.

    Attributes:
        labels: `B N` int64 class indices, K of anchors that have no box.
        counted: `B N` bool, false where an overlap is too large for a negative and too small for a positive.
        boxes: `B N 7` float32, the coded box of positives, 0 elsewhere.
        directions: `B N` int64, 0 or 1 of positives, 0 elsewhere.
    """

    labels: Tensor
    counted: Tensor
    boxes: Tensor
    directions: Tensor

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        return Targets(*(each.to(device) for each in self))


def batch_targets(
    boxes: Sequence[NDArray[np.float32]], labels: Sequence[NDArray[np.integer]], config: DetectorConfig
) -> Targets:
    """Targets of frames with `boxes` `n 7` and `labels` `n` class indices, on the CPU."""
    frames = [_frame_targets(*frame, config) for frame in zip(boxes, labels, strict=True)]
    return Targets(*(torch.from_numpy(np.stack(parts)) for parts in zip(*frames, strict=True)))


def _frame_targets(
    boxes: NDArray[np.float32], labels: NDArray[np.integer], config: DetectorConfig
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64]]:
    anchors = anchor_boxes(config.anchors, config.grid, config.anchor_shape)
    num_classes, num_yaws = len(config.anchors.classes), len(config.anchors.yaws)
    assigned = np.full((len(anchors) // (num_classes * num_yaws), num_classes, num_yaws), _NEGATIVE, np.int64)
    by_class = anchors.reshape(*assigned.shape, BOX_NUMBERS)
    for label in range(num_classes):
        (mine,) = np.nonzero(labels == label)
        if len(mine):
            overlaps = standing_ious(boxes[mine], by_class[:, label].reshape(-1, BOX_NUMBERS))
            chosen = assign(overlaps, config.positive_ious[label], config.negative_ious[label])
            assigned[:, label] = np.where(chosen >= 0, mine[chosen.clip(min=0)], chosen).reshape(-1, num_yaws)
    flat = assigned.reshape(-1)
    (positive,) = np.nonzero(flat >= 0)
    found = flat[positive]
    wanted = np.full(len(flat), num_classes, np.int64)
    coded = np.zeros((len(flat), BOX_NUMBERS), np.float32)
    directions = np.zeros(len(flat), np.int64)
    wanted[positive] = labels[found]
    coded[positive] = encoded_boxes(boxes[found], anchors[positive])
    directions[positive] = facing(boxes[found, 6])
    return wanted, flat != _OPEN, coded, directions


def facing(yaws: NDArray[np.float32]) -> NDArray[np.int64]:
    """0 of boxes that face forwards (x > 0), 1 of the others; yaws `n` in radians.

    Turned by half a circle, a box has the same overlaps; the head's direction tells the two apart.
    """
    half_turns = np.floor(limit_period(yaws + np.float32(math.pi / 2), 0.0, 2 * math.pi) / np.float32(math.pi))
    return half_turns.astype(np.int64).clip(0, 1)


def standing_ious(boxes: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overlaps `n M` of `n 7` with `M 7`, seen from above, with every yaw rounded to a multiple of a right angle."""
    low, high = _rectangles(boxes)
    anchor_low, anchor_high = _rectangles(anchors)
    sides = np.minimum(high[:, None], anchor_high) - np.maximum(low[:, None], anchor_low)
    common = np.prod(sides.clip(min=0.0), axis=-1)
    area, anchor_area = np.prod(high - low, axis=-1), np.prod(anchor_high - anchor_low, axis=-1)
    ious: NDArray[np.float32] = common / (area[:, None] + anchor_area - common)
    return ious


def _rectangles(boxes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    across = np.abs(limit_period(boxes[:, 6], 0.5, math.pi)) > math.pi / 4
    size = np.where(across[:, None], boxes[:, [4, 3]], boxes[:, 3:5])
    half = (size / 2).astype(np.float32)
    return boxes[:, :2] - half, boxes[:, :2] + half


def assign(overlaps: NDArray[np.float32], positive: float, negative: float) -> NDArray[np.int64]:
    """Which box each anchor is to find (Faster R-CNN, arXiv:1506.01497): `M`, an index, -1 for none, -2 for open.

    Args:
        overlaps: `n M`, n at least 1.
        positive: an anchor with this overlap or more gets the box it overlaps most.
        negative: one with less than this is to find none. Every box whose best overlap is at least this also gets all
            anchors with exactly that overlap, a later box in preference to an earlier.
    """
    best = overlaps.max(axis=0)
    chosen = np.where(best >= np.float32(positive), overlaps.argmax(axis=0), _OPEN)
    chosen[best < np.float32(negative)] = _NEGATIVE
    for index, row in enumerate(overlaps):
        if row.max() >= np.float32(negative):
            chosen[row == row.max()] = index
    return chosen.astype(np.int64)
