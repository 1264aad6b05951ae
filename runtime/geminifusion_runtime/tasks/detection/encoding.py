"""Boxes in the format that the client asked for."""

from __future__ import annotations

from typing import Final

from geminifusion_runtime.artifact import DetectionMetadata
from geminifusion_runtime.detection.kitti_text import kitti_text
from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.encoding.box_drawings import draw_from_above, draw_in_image
from geminifusion_runtime.png_encoder import encode_png
from geminifusion_runtime.tasks.detection.options import DetectionFormat
from geminifusion_runtime.tasks.detection.request import PreparedDetection

MEDIA_TYPES: Final[dict[DetectionFormat, str]] = {
    "json": "application/json",
    "kitti": "text/plain; charset=utf-8",
    "overlay": "image/png",
    "bev": "image/png",
}


def encode(
    wanted: DetectionFormat | None, metadata: DetectionMetadata, request: PreparedDetection, found: FrameBoxes
) -> bytes:
    """The boxes as a file; empty for json, whose document has more than the boxes, and where no file is wanted."""
    match wanted:
        case "kitti":
            return kitti_text(found).encode()
        case "overlay":
            return encode_png(draw_in_image(request.image, found, request.frame.calibration))
        case "bev":
            return encode_png(draw_from_above(request.points, found, metadata.grid))
        case _:
            return b""
