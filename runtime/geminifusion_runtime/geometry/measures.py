"""What the points of each class measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.geometry.points import points_map

STRAY = 2  # per cent of the points, at each end, whose places count for nothing: readings at edges are often wrong
Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ClassSpace:
    """Where a class is in camera axes (x right, y down, z forward), and how large, in metres.

    Attributes:
        points: measured pixels of the class.
        nearest_m: distance of its nearest point from the camera: the second percentile of all distances.
        box_min_m, box_max_m: corners of its box along the axes. On each axis the box spans the second to the
            98th percentile, widened by a forty-eighth of that at both ends, which is what even points are beyond, and
            by no more than there are points.
        area_m2: of its measured pixels, as of surfaces that face the camera: less than that of surfaces seen at an
            angle.
        volume_m3: of the box. Of an object one view shows the front alone.
    """

    points: int
    nearest_m: float
    box_min_m: Point
    box_max_m: Point
    area_m2: float
    volume_m3: float


def class_spaces(depth_m: NDArray[np.float32], labels: NDArray[np.uint8], camera: Intrinsics) -> dict[int, ClassSpace]:
    """The measures of every class that has a measured pixel, by its id.

    Args:
        depth_m: `H W` metres along the optical axis, 0 = no measurement.
        labels: `H W` class indices.
        camera: that the pixels belong to.
    """
    measured = np.flatnonzero(depth_m > 0)
    found = labels.ravel().take(measured)
    order = np.argsort(found, kind="stable")
    found = found.take(order)
    axes = points_map(depth_m, camera).reshape(-1, 3).take(measured.take(order), axis=0).T.copy()
    bounds = np.searchsorted(found, np.arange(257))
    spaces = {}
    for class_id in np.flatnonzero(np.diff(bounds)):
        part = slice(bounds[class_id], bounds[class_id + 1])
        mine = axes[:, part]
        ranges = [_range(axis) for axis in mine]
        distances = np.sqrt(np.square(mine).sum(axis=0))
        spaces[int(class_id)] = ClassSpace(
            points=len(distances),
            nearest_m=float(np.percentile(distances, STRAY)),
            box_min_m=(ranges[0][0], ranges[1][0], ranges[2][0]),
            box_max_m=(ranges[0][1], ranges[1][1], ranges[2][1]),
            area_m2=float(np.square(mine[2], dtype=np.float64).sum() / (camera.fx * camera.fy)),
            volume_m3=float(np.prod([high - low for low, high in ranges])),
        )
    return spaces


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    """The ends of the box on one axis; see `ClassSpace`."""
    low, high = (float(one) for one in np.percentile(values, (STRAY, 100 - STRAY)))
    beyond = (high - low) * STRAY / (100 - 2 * STRAY)
    return max(low - beyond, float(values.min())), min(high + beyond, float(values.max()))
