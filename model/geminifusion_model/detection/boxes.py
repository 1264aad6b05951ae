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
