"""How much boxes overlap, seen from above, exactly; and the suppression of those that overlap a better one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.boxes import footprints

_BLOCK = 65_536  # pairs at a time, of some kilobytes each


def footprint_intersections(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Areas in square metres that boxes `n 7` and `m 7` have in common seen from above, `n m`."""
    rows, columns = np.indices((len(one), len(other))).reshape(2, -1)
    return _pair_areas(one, other, rows, columns).reshape(len(one), len(other))


def footprint_ious(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of boxes `n 7` and `m 7` seen from above, `n m`, 0…1."""
    rows, columns = np.indices((len(one), len(other))).reshape(2, -1)
    return _pair_ious(one, other, rows, columns).reshape(len(one), len(other))


def suppressed(boxes: NDArray[np.floating], scores: NDArray[np.floating], max_iou: float) -> NDArray[np.int64]:
    """Which boxes are left of those of one class, the best first.

    Args:
        boxes: `n 7`.
        scores: `n`; of equal ones the earlier is the better.
        max_iou: seen from above; a box with more to a better one that is left is dropped.

    Returns:
        Indices of the boxes.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = boxes[order]
    better, worse = np.triu_indices(len(order), 1)
    overlapping = np.zeros((len(order), len(order)), bool)
    overlapping[better, worse] = _pair_ious(ordered, ordered, better, worse) > max_iou
    dropped = np.zeros(len(order), bool)
    for place in range(len(order)):
        if not dropped[place]:
            dropped |= overlapping[place]
    return order[~dropped]


def _pair_ious(
    one: NDArray[np.floating], other: NDArray[np.floating], rows: NDArray[np.integer], columns: NDArray[np.integer]
) -> NDArray[np.float64]:
    common = _pair_areas(one, other, rows, columns)
    area, other_area = (np.prod(boxes[:, 3:5].astype(np.float64), axis=1) for boxes in (one, other))
    union = area[rows] + other_area[columns] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _pair_areas(
    one: NDArray[np.floating], other: NDArray[np.floating], rows: NDArray[np.integer], columns: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Common areas of the pairs of `one[rows]` and `other[columns]`; computed where their surrounding circles meet."""
    centers, other_centers = one[:, :2].astype(np.float64), other[:, :2].astype(np.float64)
    radius, other_radius = (np.hypot(*boxes[:, 3:5].T.astype(np.float64)) / 2 for boxes in (one, other))
    distance = np.hypot(*(centers[rows] - other_centers[columns]).T)
    (near,) = np.nonzero(distance < radius[rows] + other_radius[columns])
    first, second = footprints(one), footprints(other)
    areas = np.zeros(len(rows))
    for start in range(0, len(near), _BLOCK):
        pairs = near[start : start + _BLOCK]
        row, column = rows[pairs], columns[pairs]
        middle = centers[row][:, None]  # near zero, so that areas do not drown in the squares of far places
        areas[pairs] = _common_areas(first[row] - middle, second[column] - middle)
    return areas


def _common_areas(polygons: NDArray[np.float64], windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas of `p 4 2` rectangles inside `p 4 2` others, both counter-clockwise: clipped by one side after another."""
    for side in range(4):
        polygons = _clipped(polygons, windows[:, side], windows[:, (side + 1) % 4])
    following = np.roll(polygons, -1, axis=1)
    twice = polygons[..., 0] * following[..., 1] - polygons[..., 1] * following[..., 0]
    return np.maximum(twice.sum(axis=1) / 2, 0.0)


def _clipped(
    polygons: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Convex polygons `p k 2` without what is right of the lines from `start` to `end` (`p 2`): `p k+2 2`.

    A convex polygon gains one corner, and one more where rounding bends a side that lies on the line. Those with fewer
    repeat one, which adds no area; what is wholly to the right becomes a point.
    """
    number, count = polygons.shape[:2]
    along = (end - start)[:, None]
    away = polygons - start[:, None]
    height = along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0]
    following, next_height = np.roll(polygons, -1, axis=1), np.roll(height, -1, axis=1)
    inside, crosses = height >= 0, (height >= 0) != (next_height >= 0)
    share = np.divide(height, height - next_height, out=np.zeros_like(height), where=crosses)
    crossing = polygons + share[..., None] * (following - polygons)
    # Of each side its first corner, where that is inside, and then the place where it crosses the line.
    candidates = np.stack([polygons, crossing], axis=2).reshape(number, 2 * count, 2)
    valid = np.stack([inside, crosses], axis=2).reshape(number, 2 * count)
    order = np.argsort(~valid, axis=1, kind="stable")[:, : count + 2]
    rows = np.arange(number)[:, None]
    order = np.where(valid[rows, order], order, order[:, :1])
    return np.asarray(candidates[rows, order])
