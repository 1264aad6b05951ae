"""A file for the Rerun viewer: images, depth, mask and camera on one timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geminifusion_runtime.decoding.depth import MILLIMETRE

from ..errors import requires_extra
from ..images import picture, stored_values
from ..results import Result
from ..sources.base import SourceFrame
from .base import FrameError, SinkRequest

with requires_extra("--format rerun", "rerun"):
    import rerun


class RerunLog:
    """An .rrd file."""

    bytes_per_pixel = 0.5

    def __init__(self, request: SinkRequest) -> None:
        self._path = request.path(".rrd")
        self._log: Any = rerun.RecordingStream("geminifusion")
        self._log.save(self._path)
        names = [rerun.AnnotationInfo(id=one.id, label=one.name, color=one.color) for one in request.classes()]
        self._log.log("/", rerun.AnnotationContext(names), static=True)
        self._count = 0

    def has(self, frame: SourceFrame) -> bool:
        """Nothing can be added to a log."""
        return False

    def write(self, frame: SourceFrame, result: Result) -> list[Path]:
        """Add a frame."""
        self._log.set_time("frame", sequence=self._count)
        if frame.stamp_ns is not None:
            self._log.set_time("taken", timestamp=np.datetime64(frame.stamp_ns, "ns"))
        self._count += 1
        if frame.intrinsics is not None:
            fx, fy, cx, cy = frame.intrinsics
            height, width = result.labels.shape
            camera = rerun.Pinhole(focal_length=[fx, fy], principal_point=[cx, cy], resolution=[width, height])
            self._log.log("camera", camera)
        for modality, image in result.sources.items():
            self._log.log(f"camera/{modality}", _archetype(modality, image))
        self._log.log("camera/segmentation", rerun.SegmentationImage(result.labels))
        return []

    def failed(self, frame: SourceFrame, error: FrameError) -> None:
        """Log the error."""
        self._log.log("errors", rerun.TextLog(f"{frame.name}: {error}", level="ERROR"))

    def close(self) -> list[Path]:
        """End the file."""
        self._log.flush()
        self._log.disconnect()
        return [self._path]


def _archetype(modality: str, image: Any) -> Any:  # noqa: ANN401 - Rerun's own
    """Depth as distances, everything else as a picture."""
    if modality != "depth":
        return rerun.Image(picture(image)).compress()
    values = stored_values(image)
    return rerun.DepthImage(values, meter=1 / MILLIMETRE if values.dtype.kind == "u" else 1.0)
