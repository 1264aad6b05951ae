"""From a head's numbers for every anchor to the boxes of a frame."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.anchors import anchor_boxes, decoded_boxes
from geminifusion_runtime.detection.boxes import BOX_NUMBERS, limit_period, wrap_angle
from geminifusion_runtime.detection.overlaps import suppressed
from geminifusion_runtime.detection.settings import AnchorSettings, GridSettings, SelectionSettings


class HeadMaps(NamedTuple):
    """The head's numbers for one frame; rows, columns of its map seen from above, A anchors of a cell, K classes.

    Attributes:
        class_logits: `rows columns A K`.
        box_numbers: `rows columns A 7`.
        direction_logits: `rows columns A 2`.
    """

    class_logits: NDArray[np.float32]
    box_numbers: NDArray[np.float32]
    direction_logits: NDArray[np.float32]


class Detections(NamedTuple):
    """The boxes of a frame, the surest first.

    Attributes:
        boxes: `n 7` float32 in LiDAR axes, yaw in [-π, π).
        scores: `n` float32, 0…1.
        labels: `n` uint8 class indices.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.uint8]

    def take(self, which: NDArray[np.integer] | NDArray[np.bool_]) -> Detections:
        """Some of the boxes."""
        return Detections(self.boxes[which], self.scores[which], self.labels[which])


def select(maps: HeadMaps, anchors: AnchorSettings, grid: GridSettings, selection: SelectionSettings) -> Detections:
    """The boxes of a frame before those outside the range of centres are dropped."""
    rows, columns, _, num_classes = maps.class_logits.shape
    logits = maps.class_logits.reshape(-1, num_classes)
    chosen = greatest(logits.max(axis=1), selection.candidates)
    boxes = decoded_boxes(
        maps.box_numbers.reshape(-1, BOX_NUMBERS)[chosen], anchor_boxes(anchors, grid, (rows, columns))[chosen]
    )
    turned = maps.direction_logits.reshape(-1, 2)[chosen].argmax(axis=1).astype(np.float32)
    scores = _sigmoid(logits[chosen])
    finite = np.isfinite(boxes).all(axis=1)
    kept: list[Detections] = []
    for label in range(num_classes):
        (sure,) = np.nonzero(finite & (scores[:, label] > selection.min_score))
        mine = sure[suppressed(boxes[sure], scores[sure, label], selection.max_iou)]
        found = boxes[mine].copy()
        offset = np.float32(selection.direction_offset)
        half_turn = limit_period(found[:, 6] + offset, 0.0, math.pi)
        found[:, 6] = wrap_angle(half_turn - offset + np.float32(math.pi) * turned[mine])
        kept.append(Detections(found, scores[mine, label], np.full(len(mine), label, np.uint8)))
    together = Detections(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))
    order = np.argsort(-together.scores, kind="stable")[: selection.max_boxes]
    return together.take(order)


def within_centers(detections: Detections, selection: SelectionSettings) -> Detections:
    """The boxes whose bottom's centre lies where the selection allows it."""
    centers = detections.boxes[:, :3]
    low, high = (np.asarray(corner, np.float32) for corner in (selection.center_low, selection.center_high))
    inside = np.asarray(((centers >= low) & (centers <= high)).all(axis=1))
    return detections.take(inside)


def greatest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of the `count` greatest values, the greatest first; of equal ones the earlier. NaN is never chosen."""
    (candidates,) = np.nonzero(~np.isnan(values))
    if len(candidates) > count:
        least = np.partition(values[candidates], len(candidates) - count)[len(candidates) - count]
        candidates = candidates[values[candidates] >= least]
    return candidates[np.argsort(-values[candidates], kind="stable")][:count]


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits))).astype(np.float32)
