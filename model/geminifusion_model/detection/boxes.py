"""What training and evaluation do with boxes, besides what serving does too (`geminifusion_runtime.detection.boxes`).

Boxes are `n 7` x, y, z, dx, dy, dz, yaw in LiDAR axes, as that module describes them: metres and radians, z of the
bottom.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.boxes import wrap_angle

CLASS_NAMES = ("pedestrian", "cyclist", "car")
"""What the detector tells apart, in the order of its labels."""


def points_inside(points: NDArray[np.floating], boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which points `P 3…` lie in which boxes `n 7`, their faces included: `n P`."""
    offsets = points[None, :, :3].astype(np.float64) - boxes[:, None, :3]
    cosine, sine = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    along = offsets[..., 0] * cosine + offsets[..., 1] * sine
    across = offsets[..., 1] * cosine - offsets[..., 0] * sine
    half_length, half_width, height = boxes[:, 3:4] / 2, boxes[:, 4:5] / 2, boxes[:, 5:6]
    inside: NDArray[np.bool_] = (
        (np.abs(along) <= half_length)
        & (np.abs(across) <= half_width)
        & (offsets[..., 2] >= 0)
        & (offsets[..., 2] <= height)
    )
    return inside


def rotated(boxes: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    """Boxes turned about the z axis, counter-clockwise by `angle` radians."""
    turned = boxes.copy()
    turned[:, :2] = boxes[:, :2] @ rotation(angle)
    turned[:, 6] = wrap_angle(boxes[:, 6].astype(np.float64) + angle)
    return turned


def rotation(angle: float) -> NDArray[np.float32]:
    """The matrix `2 2` that turns row vectors (x, y) counter-clockwise by `angle` radians: `rows @ matrix`."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]], np.float32)


def scaled(boxes: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Boxes of a scene whose every length grew by `factor`."""
    return boxes * np.array([factor] * 6 + [1], np.float32)


def moved(boxes: NDArray[np.float32], offset: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes moved by x, y, z."""
    return boxes + np.concatenate([offset, np.zeros(4, np.float32)]).astype(np.float32)


def mirrored(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes of a scene whose left became its right: y and yaw change their sign."""
    turned = boxes * np.array([1, -1, 1, 1, 1, 1, -1], np.float32)
    turned[:, 6] = wrap_angle(turned[:, 6].astype(np.float64))
    return turned
