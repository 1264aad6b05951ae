"""Depth as HHA: disparity, height above the ground, angle with gravity (Gupta et al., ECCV 2014, arXiv:1407.5736).

The direction of gravity is estimated from the surface normals: surfaces are mostly parallel or perpendicular to it
(Gupta et al., CVPR 2013). Camera axes: x right, y down, z forward. Everything in metres, numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.geometry.normals import surface_normals
from geminifusion_runtime.geometry.points import rays

Floats = NDArray[np.float64]

# The three channels' scales in units of 1/255 of the full range.
_DISPARITY_AT_1M = 310.0
_CM_PER_M = 100.0
_ANGLE_OFFSET_DEG = 38.0

_NEAREST_M = 1e-6  # nearer is beyond every scale, and its reciprocal may not be a number
_LOWEST_CAMERA_M = 0.9  # a camera this low or lower is taken to stand 1.3 m high above an unseen floor
_ASSUMED_CAMERA_M = 1.3
_NORMAL_WINDOW = 11  # pixels at 640 wide
_THRESHOLDS_DEG = (45.0,) * 5 + (15.0,) * 5


def hha_from_depth(depth_m: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float32]:
    """The HHA image of a depth map.

    Args:
        depth_m: `H W` metres along the optical axis, 0 = no measurement.

    Returns:
        `H W 3` float32, 0…255: 310 / metres; centimetres above the lowest surface; degrees between normal and up, plus
        38. All 0 where nothing was measured.
    """
    measured = depth_m > 0
    if not measured.any():
        return np.zeros((*depth_m.shape, 3), np.float32)
    points = _points(depth_m, camera)
    window = max(3, round(_NORMAL_WINDOW * depth_m.shape[1] / 640) | 1)
    normals = surface_normals(points, measured, window)
    known = measured & (np.abs(normals).sum(axis=2) > 0)
    down = _gravity(normals[known])
    below_camera_m = points @ down
    # a low percentile, because single wrong readings lie below the floor
    floor_m = float(np.percentile(below_camera_m[measured], 99))
    if floor_m < _LOWEST_CAMERA_M:
        floor_m = _ASSUMED_CAMERA_M
    height_m = floor_m - below_camera_m
    angle_deg = np.degrees(np.arccos(np.clip(-(normals @ down), -1.0, 1.0)))
    hha = np.stack(
        [
            _DISPARITY_AT_1M / np.where(measured, np.maximum(depth_m, _NEAREST_M), 1.0),
            _CM_PER_M * height_m,
            np.where(known, angle_deg, 90.0) + _ANGLE_OFFSET_DEG,
        ],
        axis=2,
    )
    return np.where(measured[..., None], hha, 0.0).clip(0.0, 255.0).astype(np.float32)


def _points(depth_m: NDArray[np.float32], camera: Intrinsics) -> Floats:
    """`H W 3` camera coordinates of every pixel, 0 where nothing was measured."""
    z = depth_m.astype(np.float64)
    x_at_1m, y_at_1m = rays(z.shape, camera)
    return np.stack([x_at_1m * z, y_at_1m[:, None] * z, z], axis=2)


def _gravity(normals: Floats) -> Floats:
    """The unit vector downwards from `N 3` unit normals.

    Starting from the camera's own vertical, normals within a threshold of it should be parallel to gravity, those
    within the threshold of the horizon perpendicular; the direction that fits both best is an eigenvector.
    """
    down = np.array([0.0, 1.0, 0.0])
    for threshold in _THRESHOLDS_DEG:
        along = np.abs(normals @ down)
        parallel = normals[along > np.cos(np.radians(threshold))]
        perpendicular = normals[along < np.sin(np.radians(threshold))]
        if len(parallel) + len(perpendicular) == 0:
            break
        _, vectors = np.linalg.eigh(perpendicular.T @ perpendicular - parallel.T @ parallel)
        down = vectors[:, 0] * (1.0 if vectors[1, 0] >= 0 else -1.0)
    return down
