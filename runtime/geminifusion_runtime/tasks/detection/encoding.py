"""Boxes in the format that the client asked for."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.kitti_text import kitti_text
from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.detection.settings import GridSettings
from geminifusion_runtime.encoding.box_drawings import draw_from_above, draw_in_image
from geminifusion_runtime.png_encoder import encode_png
from geminifusion_runtime.tasks.detection.options import DetectionFormat

MEDIA_TYPES: Final[dict[DetectionFormat, str]] = {
    "json": "application/json",
    "kitti": "text/plain; charset=utf-8",
    "overlay": "image/png",
    "bev": "image/png",
}


def encode(
    wanted: DetectionFormat | None,
    found: FrameBoxes,
    *,
    image: NDArray[np.uint8],
    points: NDArray[np.float32],
    calibration: Calibration,
    grid: GridSettings,
) -> bytes:
    """The boxes as a file; empty for json, whose document has more than the boxes, and where no file is wanted.

    Args:
        image, points, calibration: of the frame, as they came.
        grid: the range to show from above.
    """
    match wanted:
        case "kitti":
            return kitti_text(found).encode()
        case "overlay":
            return encode_png(draw_in_image(image, found, calibration))
        case "bev":
            return encode_png(draw_from_above(points, found, grid))
        case _:
            return b""
