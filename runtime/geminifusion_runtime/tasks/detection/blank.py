"""Made-up frames for a detector: to warm up, to test, to measure and to compare with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import DetectionMetadata
from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.frames import PreparedFrame, prepare_frame

_NUM_POINTS = 2000  # of a made-up frame
_SIZES_M = (0.3, 0.3, 0.5)  # standard deviations of what is made up, along x, y, z


class MadeUpFrame(NamedTuple):
    """A frame as it would come: image `H W 3`, points `P 4` and calibration."""

    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    calibration: Calibration


def made_up_frame(
    metadata: DetectionMetadata, seed: int = 0, num_points: int = _NUM_POINTS, *, size: tuple[int, int] | None = None
) -> MadeUpFrame:
    """Noise for an image, and heaps of points ahead; the same for the same arguments.

    Args:
        size: height and width of the image; None takes the reference size.
    """
    height, width = size or metadata.size.reference
    generator = np.random.default_rng(seed)
    low, high = (np.array(corner) for corner in (metadata.grid.low, metadata.grid.high))
    centers = low + generator.random((20, 3)) * (high - low)
    heaps = centers[generator.integers(0, len(centers), num_points)] + generator.normal(0, _SIZES_M, (num_points, 3))
    middle = (low + high) / 2
    middle[1:] = np.clip(0.0, low[1:], high[1:])
    heaps[0] = middle  # is seen, whatever the range
    return MadeUpFrame(
        image=generator.integers(0, 256, (height, width, 3), dtype=np.uint8),
        points=np.column_stack([heaps, generator.random(num_points)]).astype(np.float32),
        calibration=ahead(height, width),
    )


def blank_frame(metadata: DetectionMetadata) -> PreparedFrame:
    """A grey frame with a point in every pillar ahead, for warm-up: it asks for as much work as any frame."""
    height, width = metadata.size.reference
    grid = metadata.grid
    rows, columns = grid.shape
    y, x = np.meshgrid(
        grid.low[1] + (np.arange(rows) + 0.5) * grid.pillar_size[1],
        grid.low[0] + (np.arange(columns) + 0.5) * grid.pillar_size[0],
        indexing="ij",
    )
    z = np.full_like(x, np.clip(0.0, grid.low[2], (grid.low[2] + grid.high[2]) / 2))
    points = np.stack([x, y, z, np.zeros_like(x)], axis=-1).reshape(-1, 4).astype(np.float32)
    grey = np.full((height, width, 3), 127, np.uint8)
    return prepare_frame(grey, points, ahead(height, width), grid=grid, network_image=metadata.image_size)


def ahead(height: int, width: int) -> Calibration:
    """A camera at the LiDAR's place that looks along its x axis, with an angle of view of 90 degrees."""
    p2 = np.array([[width / 2, 0, width / 2, 0], [0, width / 2, height / 2, 0], [0, 0, 1, 0]])
    pose = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])
    return Calibration(p2=p2, r0_rect=np.eye(3), tr_velo_to_cam=pose)
