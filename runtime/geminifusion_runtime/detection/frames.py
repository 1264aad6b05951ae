"""One frame on its way through a detector: what the graph takes of it, and the boxes of what the graph gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.images import fitted
from geminifusion_runtime.detection.pillars import in_image, pillars
from geminifusion_runtime.detection.results import FrameBoxes, in_frame
from geminifusion_runtime.detection.selection import HeadMaps, select, within_centers
from geminifusion_runtime.detection.settings import AnchorSettings, GridSettings, SelectionSettings
from geminifusion_runtime.errors import NoPointsInRangeError

INPUT_NAMES = ("rgb", "points", "pillar_index", "lidar2image")


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedFrame:
    """A checked frame as the graph takes it.

    Attributes:
        inputs: by graph input name: `rgb` `1 H W 3` uint8, `points` `N 4` float32, `pillar_index` `N` int64 and
            `lidar2image` `1 4 4` float32.
        image_size: height and width of the image as it came.
        calibration: of the image as it came.
    """

    inputs: Mapping[str, NDArray[np.generic]]
    image_size: tuple[int, int]
    calibration: Calibration

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image as the graph takes it."""
        _, height, width, _ = self.inputs["rgb"].shape
        return height, width

    @property
    def batch_key(self) -> int:
        """Another for each frame: a graph takes one, as frames differ in their points."""
        return id(self)

    @property
    def num_points(self) -> int:
        """Points that the detector sees."""
        return len(self.inputs["points"])


def prepare_frame(
    image: NDArray[np.uint8],
    points: NDArray[np.float32],
    calibration: Calibration,
    *,
    grid: GridSettings,
    network_image: tuple[int, int],
) -> PreparedFrame:
    """Check a frame and bring it to what a detector takes.

    Points outside the image or the range are left out, as they are in training.

    Args:
        image: `H W 3` RGB.
        points: `P 4` of the LiDAR.
        calibration: of both.
        grid: the detector's.
        network_image: height and width that the detector sees images at.

    Raises:
        CalibrationMismatchError: the calibration is that of an image of another size.
        NoPointsInRangeError: no point is left.
    """
    size = (image.shape[0], image.shape[1])
    calibration.check_size(size)
    seen = points[in_image(points, calibration.lidar2image, size)]
    found = pillars(seen, grid)
    if not len(found.points):
        raise NoPointsInRangeError(_why_none(points, seen, grid))
    small = fitted(image, network_image)
    projection = calibration.resized(size, (small.shape[0], small.shape[1])).lidar2image.astype(np.float32)
    return PreparedFrame(
        inputs={
            "rgb": small[np.newaxis],
            "points": found.points,
            "pillar_index": found.index,
            "lidar2image": projection[np.newaxis],
        },
        image_size=size,
        calibration=calibration,
    )


def _why_none(points: NDArray[np.float32], seen: NDArray[np.float32], grid: GridSettings) -> str:
    if not len(points):
        return "points has no points; send the LiDAR's sweep that belongs to the image"
    if not len(seen):
        return (
            f"none of the {len(points)} points is in the image; send x forward, y left, z up in metres, and the "
            "calibration of this camera and LiDAR"
        )
    low, high = (", ".join(f"{value:g}" for value in corner) for corner in (grid.low, grid.high))
    return (
        f"none of the {len(seen)} points in the image lies within the model's range, ({low}) to ({high}) m; "
        "send x forward, y left, z up in metres"
    )


def boxes_of_frame(
    maps: HeadMaps,
    frame: PreparedFrame,
    *,
    anchors: AnchorSettings,
    grid: GridSettings,
    selection: SelectionSettings,
) -> FrameBoxes:
    """The boxes that a detector's numbers make of a frame, of those the ones that are in its image."""
    found = within_centers(select(maps, anchors, grid, selection), selection)
    return in_frame(found, frame.calibration, frame.image_size, anchors.class_names)
