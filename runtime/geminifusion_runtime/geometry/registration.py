"""Depth of one camera brought to the pixels of another: forward projection with a z-buffer.

Each measured pixel goes to the other camera as a square of its own size there, a tenth larger so that no cracks open in
a surface that is seen at an angle. Where several fall on one pixel the nearest is kept. Pixels that none falls on stay
holes: what the other camera sees behind an edge, and what lies outside the depth camera's view. Nothing is made up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.camera import Intrinsics, Pose
from geminifusion_runtime.geometry.points import points_map

_OVERLAP = 1.1  # of neighbouring squares
_NEAREST_M = 0.01  # in front of the other camera
_MOST_WRITTEN = 8  # pixels, for each of both images: cameras that see one scene write one to four
_LARGEST_SIDE = 32.0  # of a square in pixels; a time-of-flight camera of 224 columns beside one of 4K has 16


def register_depth(
    depth_m: NDArray[np.float32],
    camera: Intrinsics,
    *,
    target: Intrinsics,
    pose: Pose,
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """The depth that the target camera would have measured, as far as this one saw it.

    The distance of a pixel is right for a place up to half a pixel beside its centre.

    Args:
        depth_m: `H W` metres along the depth camera's optical axis, 0 = no measurement.
        camera: the depth camera.
        target: the other camera.
        pose: from points of the depth camera to points of the other: `p' = R p + t`.
        size: height and width of the other camera's image.

    Returns:
        `height width` float32 metres along the other camera's optical axis, 0 = hole.

    Raises:
        ValueError: the cameras cannot be those of the images, which the text says as the end of a sentence.
    """
    height, width = size
    finer = max(target.fx / camera.fx, target.fy / camera.fy)
    if finer > _LARGEST_SIDE:
        raise ValueError(
            f"make a pixel of the depth {finer:.3g} pixels wide in rgb; send both cameras in pixels of their own images"
        )
    u, v, z, side = _project(depth_m, camera, target, pose)
    inside = (
        (u > -0.5 - side / 2) & (u < width - 0.5 + side / 2) & (v > -0.5 - side / 2) & (v < height - 0.5 + side / 2)
    )
    u, v, z, side = u[inside], v[inside], z[inside], side[inside]
    if float(np.square(np.ceil(side)).sum()) > _MOST_WRITTEN * (height * width + depth_m.size):
        raise ValueError("lay many times the depth's pixels over one another; send cameras that see one scene")
    left, top = _first(u, side), _first(v, side)
    right, bottom = _last(u, side, left), _last(v, side, top)
    buffer = np.full(height * width, np.inf, np.float32)
    for down in range(int((bottom - top).max(initial=-1)) + 1):
        row = top + down
        in_row = (row <= bottom) & (row >= 0) & (row < height)
        for across in range(int((right - left).max(initial=-1)) + 1):
            column = left + across
            kept = np.flatnonzero(in_row & (column <= right) & (column >= 0) & (column < width))
            np.minimum.at(buffer, row[kept] * width + column[kept], z[kept])
    buffer[np.isinf(buffer)] = 0
    return buffer.reshape(height, width)


def _project(
    depth_m: NDArray[np.float32], camera: Intrinsics, target: Intrinsics, pose: Pose
) -> tuple[NDArray[np.float32], ...]:
    """Of each measured pixel in front of the target camera: column, row, distance, and its side in pixels there."""
    x, y, z = points_map(depth_m, camera).reshape(-1, 3).take(np.flatnonzero(depth_m > 0), axis=0).T
    rotation, translation = np.array(pose.rotation, np.float32), np.array(pose.translation, np.float32)
    moved = [row[0] * x + row[1] * y + row[2] * z + shift for row, shift in zip(rotation, translation, strict=True)]
    front = moved[2] > _NEAREST_M
    x, y, far, z = moved[0][front], moved[1][front], moved[2][front], z[front]
    u = np.float32(target.fx) * x / far + np.float32(target.cx)
    v = np.float32(target.fy) * y / far + np.float32(target.cy)
    finer = max(target.fx / camera.fx, target.fy / camera.fy)
    return u, v, far, np.minimum(np.float32(_OVERLAP * finer) * z / far, np.float32(_LARGEST_SIDE))


def _first(centre: NDArray[np.float32], side: NDArray[np.float32]) -> NDArray[np.int32]:
    """The first pixel whose centre a square covers, or the one its own centre is nearest to."""
    return np.minimum(np.ceil(centre - side / 2), np.rint(centre)).astype(np.int32)


def _last(centre: NDArray[np.float32], side: NDArray[np.float32], first: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.maximum(np.ceil(centre + side / 2).astype(np.int32) - 1, first)
