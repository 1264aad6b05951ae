"""From depth to points with the color, class and confidence of their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.camera import Intrinsics


@dataclass(frozen=True, kw_only=True, eq=False)
class PointCloud:
    """Points of the measured pixels, row by row of the image.

    Attributes:
        xyz: `N 3` float32 metres in camera axes: x right, y down, z forward.
        rgb: `N 3` uint8: the colors of the image, or of the classes where there is none.
        label: `N` uint8 class indices.
        confidence: `N` float32, 0…1, rounded to half precision as servers send it; NaN where there is no such map.
    """

    xyz: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    label: NDArray[np.uint8]
    confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xyz)

    def __repr__(self) -> str:
        return f"PointCloud({len(self)} points)"


def rays(size: tuple[int, int], camera: Intrinsics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the pixels look: x of each column and y of each row at z = 1, float64.

    Args:
        size: height and width of the image.
        camera: its camera.
    """
    height, width = size
    columns, rows = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    return (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy


def points_map(depth_m: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float32]:
    """`H W 3` float32 metres in camera axes of every pixel of `depth_m` (`H W` metres), 0 where it was not measured."""
    height, width = depth_m.shape
    x_at_1m, y_at_1m = (axis.astype(np.float32) for axis in rays((height, width), camera))
    xyz = np.empty((height, width, 3), np.float32)
    np.multiply(x_at_1m, depth_m, out=xyz[..., 0])
    np.multiply(y_at_1m[:, None], depth_m, out=xyz[..., 1])
    xyz[..., 2] = depth_m
    return xyz


def point_cloud(
    depth_m: NDArray[np.float32],
    camera: Intrinsics,
    *,
    labels: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    confidence: NDArray[np.floating] | None = None,
) -> PointCloud:
    """The points of a depth map.

    Args:
        depth_m: `H W` metres along the optical axis, 0 = no measurement, of which there is no point.
        camera: that the pixels belong to.
        labels: `H W` class indices.
        colors: `H W 3` RGB.
        confidence: `h w` of any size over the same view: a point has that of the cell its pixel lies in.
    """
    measured = np.flatnonzero(depth_m > 0)
    if confidence is None:
        sure = np.full(len(measured), np.nan, np.float32)
    else:
        sure = _enlarged(confidence, depth_m.shape).astype(np.float32).ravel().take(measured)
    return PointCloud(
        xyz=points_map(depth_m, camera).reshape(-1, 3).take(measured, axis=0),
        rgb=colors.reshape(-1, 3).take(measured, axis=0),
        label=labels.ravel().take(measured),
        confidence=sure,
    )


def _enlarged(cells: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float16]:
    """A map at another size, height and width: of each pixel the cell that it lies in."""
    of_row, of_column = (np.arange(side) * count // side for side, count in zip(size, cells.shape, strict=True))
    return cells.astype(np.float16).take(of_row, axis=0).take(of_column, axis=1)
