"""Boxes in LiDAR and in camera axes, and where they are in the image.

A box in LiDAR axes is `x y z dx dy dz yaw`: x forward, y left, z up; (x, y, z) is the centre of the bottom, dx length,
dy width, dz height, all in metres; yaw in radians, counter-clockwise from x. In the axes of the rectified reference
camera (x right, y down, z forward) a box is what the columns of a KITTI label say.

Functions compute in float64 and return the type of what they were given, unless they say otherwise.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.calibration import Calibration

T = TypeVar("T", bound=np.floating)

BOX_NUMBERS = 7
NEAREST_DEPTH_M = 1e-3  # what is nearer to the camera's plane, or behind it, is projected from there

# In lengths and widths, counter-clockwise from the front left; corners are those of the bottom, then those of the top.
_CORNERS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float64) / 2
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))


class CameraBoxes(NamedTuple):
    """Boxes in camera axes, as KITTI's labels describe them.

    Attributes:
        location: `n 3` metres, the centre of the bottom.
        dimensions: `n 3` metres: height, width, length.
        rotation_y: `n` radians, in [-π, π).
    """

    location: NDArray[np.float64]
    dimensions: NDArray[np.float64]
    rotation_y: NDArray[np.float64]


def limit_period(values: NDArray[T], offset: float, period: float) -> NDArray[T]:
    """Values brought into `[-offset·period, (1 - offset)·period)` by whole periods."""
    return np.asarray(values - np.floor(values / period + offset) * period, values.dtype)


def wrap_angle(angles: NDArray[T]) -> NDArray[T]:
    """Angles in radians brought into [-π, π)."""
    return limit_period(angles, 0.5, 2 * math.pi)


def camera_to_lidar(boxes: CameraBoxes, calibration: Calibration) -> NDArray[np.float32]:
    """Boxes in LiDAR axes, `n 7` float32."""
    height, width, length = np.asarray(boxes.dimensions, np.float64).reshape(-1, 3).T
    location = transformed(np.asarray(boxes.location, np.float64), np.linalg.inv(calibration.lidar_to_camera))
    yaw = wrap_angle(-np.asarray(boxes.rotation_y, np.float64) - math.pi / 2)
    return np.column_stack([location, length, width, height, yaw]).astype(np.float32)


def lidar_to_camera(boxes: NDArray[np.floating], calibration: Calibration) -> CameraBoxes:
    """Boxes `n 7` of LiDAR axes in camera axes, float64."""
    numbers = boxes.astype(np.float64)
    return CameraBoxes(
        location=transformed(numbers[:, :3], calibration.lidar_to_camera),
        dimensions=numbers[:, [5, 4, 3]],
        rotation_y=wrap_angle(-numbers[:, 6] - math.pi / 2),
    )


def observation_angles(boxes: NDArray[np.floating], rotation_y: NDArray[np.floating]) -> NDArray[np.float64]:
    """KITTI's alpha, `n` radians in [-π, π): the rotation of a box as seen along the ray to it.

    Args:
        boxes: `n 7` in LiDAR axes.
        rotation_y: of the same boxes in camera axes.
    """
    numbers = boxes.astype(np.float64)
    return wrap_angle(rotation_y.astype(np.float64) - np.arctan2(-numbers[:, 1], numbers[:, 0]))


def corners(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """The corners of boxes `n 7` in LiDAR axes, `n 8 3`; `EDGES` says which belong together."""
    numbers = boxes.astype(np.float64)
    ground = footprints(numbers)
    bottom = np.repeat(numbers[:, None, 2:3], 4, axis=1)
    top = bottom + numbers[:, None, 5:6]
    return np.concatenate([np.dstack([ground, bottom]), np.dstack([ground, top])], axis=1)


def footprints(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """The corners of boxes `n 7` seen from above, `n 4 2`, counter-clockwise."""
    numbers = boxes.astype(np.float64)
    along, across = (numbers[:, None, 3:5] * _CORNERS).transpose(2, 0, 1)
    cosine, sine = np.cos(numbers[:, 6:7]), np.sin(numbers[:, 6:7])
    return np.dstack([along * cosine - across * sine, along * sine + across * cosine]) + numbers[:, None, :2]


def transformed(points: NDArray[np.floating], matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points `… 3` after an affine map `4 4`."""
    return points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def project(
    points: NDArray[np.floating], lidar2image: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where points are in the image.

    Args:
        points: `… 3` in LiDAR axes.
        lidar2image: `4 4`; see `Calibration`.

    Returns:
        Pixels `… 2` (x, y), and depths `…` in metres, which are negative behind the camera. Points that are not in
        front of it are projected as if they were `NEAREST_DEPTH_M` before it.
    """
    projected = transformed(points, lidar2image)
    depth = projected[..., 2]
    return projected[..., :2] / np.maximum(depth, NEAREST_DEPTH_M)[..., None], depth


def image_rectangles(boxes: NDArray[np.floating], lidar2image: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rectangles around the projected corners of boxes `n 7`: left, top, right, bottom in pixels, `n 4`."""
    pixels, _ = project(corners(boxes), lidar2image)
    return np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)


def clipped(rectangles: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.floating]:
    """Rectangles `n 4` clipped to an image of `size`, height and width."""
    height, width = size
    most = np.array([width, height, width, height], rectangles.dtype)
    return np.clip(rectangles, 0, most)
