"""Surface normals of a map of points, by least squares over each pixel's surroundings."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NEAREST_M = 1e-6  # the reciprocal of what is nearer may not be a number


def surface_normals(points: Floats, measured: NDArray[np.bool_], window: int) -> Floats:
    """`H W 3` unit normals towards the camera of the plane through each pixel's surroundings; 0 where there is none.

    A plane that misses the camera is n·p = 1; least squares over a window gives n = (Σ p pᵀ)⁻¹ Σ p, of which only the
    direction is wanted, so that the adjugate serves as the inverse.

    Args:
        points: `H W 3` camera coordinates, metres.
        measured: `H W`.
        window: side of the surroundings, an odd number of pixels; as many pixels have to be measured in it.
    """
    # only ratios matter, and dividing by the distance keeps the far points from ruling the fit
    weight = np.where(measured, 1.0 / np.maximum(points[..., 2], _NEAREST_M), 0.0)

    def box_sum(values: Floats) -> Floats:
        summed = cv2.boxFilter(values, -1, (window, window), normalize=False, borderType=cv2.BORDER_CONSTANT)
        return summed.astype(np.float64, copy=False)

    x, y, z = (np.ascontiguousarray(points[..., i] * weight) for i in range(3))
    xx, xy, xz, yy, yz, zz = (box_sum(a * b) for a, b in ((x, x), (x, y), (x, z), (y, y), (y, z), (z, z)))
    # a whisper of the identity keeps windows whose points lie on a line from being singular
    whisper = 1e-9 * (1.0 + xx + yy + zz)
    xx, yy, zz = xx + whisper, yy + whisper, zz + whisper
    sx, sy, sz = (box_sum(axis * weight) for axis in (x, y, z))
    a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    d, e, f = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    normals = np.stack([a * sx + b * sy + c * sz, b * sx + d * sy + e * sz, c * sx + e * sy + f * sz], axis=2)
    length = np.sqrt((normals * normals).sum(axis=2, keepdims=True))
    enough = measured & (box_sum(measured.astype(np.float64)) >= window) & (length[..., 0] > 0)
    unit: Floats = np.where(enough[..., None], normals / np.where(length > 0, length, 1.0), 0.0)
    away = (unit * points).sum(axis=2) > 0
    unit[away] *= -1.0
    return unit
