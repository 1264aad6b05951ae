"""Which pillar each point falls into, and which points a detector sees at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.boxes import project
from geminifusion_runtime.detection.settings import GridSettings


class Pillars(NamedTuple):
    """Points within the range, in the order they came.

    Attributes:
        points: `N 4` float32.
        index: `N` int64, row · columns + column of the pillar in the grid seen from above.
    """

    points: NDArray[np.float32]
    index: NDArray[np.int64]  # type: ignore[assignment]  # of tuples, which nobody asks for


def in_image(points: NDArray[np.float32], lidar2image: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which points `P 4` are before the camera and inside its image of `size`, height and width; `P`."""
    height, width = size
    pixels, depth = project(points[:, :3], lidar2image)
    x, y = pixels.T
    return np.asarray((depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height))


def pillars(points: NDArray[np.float32], grid: GridSettings) -> Pillars:
    """The points `P 4` inside the grid's range and their pillars; computed in float32, as in training."""
    low, high = np.asarray(grid.low, np.float32), np.asarray(grid.high, np.float32)
    rows, columns = grid.shape
    with np.errstate(over="ignore", invalid="ignore"):
        cells = np.floor((points[:, :2] - low[:2]) / np.asarray(grid.pillar_size, np.float32))
    inside = ((cells >= 0) & (cells < (columns, rows))).all(axis=1)
    inside &= (points[:, 2] >= low[2]) & (points[:, 2] < high[2])
    kept = np.ascontiguousarray(points[inside])
    column, row = cells[inside].astype(np.int64).T
    return Pillars(points=kept, index=row * columns + column)
