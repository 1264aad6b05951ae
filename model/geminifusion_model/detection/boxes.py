"""What training does with boxes, besides what serving does too (`geminifusion_runtime.detection.boxes`).

Boxes are `n 7` x, y, z, dx, dy, dz, yaw in LiDAR axes, as that module describes them: metres and radians, z of the
bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.detection.projection import point_matrix
from geminifusion_runtime.detection.boxes import transformed, wrap_angle


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


def boxes_after(
    boxes: NDArray[np.float32],
    *,
    yaw: float = 0.0,
    scale: float = 1.0,
    translation: Sequence[float] = (0.0, 0.0, 0.0),
    mirrored: bool = False,
) -> NDArray[np.float32]:
    """Boxes of a scene that `projection.point_matrix` with the same arguments has changed."""
    matrix = point_matrix(yaw=yaw, scale=scale, translation=translation, mirrored=mirrored)
    angles = boxes[:, 6].astype(np.float64) + yaw
    changed = boxes.copy()
    changed[:, :3] = transformed(boxes[:, :3], matrix)
    changed[:, 3:6] *= np.float32(scale)
    changed[:, 6] = wrap_angle(-angles if mirrored else angles)
    return changed
