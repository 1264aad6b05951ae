"""From points and images as they are, augmented and resized, to where the points are in the images.

Everything that is done to points and to an image is an affine map, also in pixels times depth. So the matrix that a
detector takes holds all of it, and undoes what was done to the points in the right order by being an inverse.

All matrices are `4 4` float64 and act on columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def point_matrix(
    *, yaw: float = 0.0, scale: float = 1.0, translation: Sequence[float] = (0.0, 0.0, 0.0), mirrored: bool = False
) -> Matrix:
    """What augmentation does to points in LiDAR axes, in the original's order.

    Args:
        yaw: radians, counter-clockwise about z.
        scale: of all lengths, then.
        translation: metres along x, y, z, then.
        mirrored: y changes its sign at last; the image is to be mirrored too.
    """
    cosine, sine = scale * math.cos(yaw), scale * math.sin(yaw)
    matrix = np.eye(4)
    matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
    matrix[2, 2] = scale
    matrix[:3, 3] = translation
    if mirrored:
        matrix[1] *= -1.0
    return matrix


def image_matrix(*, factors: tuple[float, float] = (1.0, 1.0), mirrored_width: float | None = None) -> Matrix:
    """What was done to an image, for (u·depth, v·depth, depth, 1).

    Args:
        factors: of the width and of the height, by resizing.
        mirrored_width: width in pixels after resizing and before padding, if the image was mirrored then.
    """
    matrix = np.diag([factors[0], factors[1], 1.0, 1.0])
    if mirrored_width is not None:
        matrix[0, 0] *= -1.0
        matrix[0, 2] = mirrored_width
    return matrix


def lidar2image_after(lidar2image: Matrix, points: Matrix, image: Matrix) -> Matrix:
    """The projection of augmented points into a changed image.

    Args:
        lidar2image: of the frame as it was measured (`Calibration.lidar2image`).
        points: what was done to the points since (`point_matrix`).
        image: what was done to the image since (`image_matrix`).
    """
    return image @ lidar2image @ np.linalg.inv(points)
