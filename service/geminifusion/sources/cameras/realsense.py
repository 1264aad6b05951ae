"""Intel RealSense, by pyrealsense2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

from ..base import Intrinsics
from .live import HEIGHT, RATE, WIDTH, LiveCamera


class RealSenseCamera(LiveCamera):
    """The first RealSense; its depth is aligned to colour by its library."""

    def __init__(self) -> None:
        super().__init__("realsense")
        config = rs.config()
        config.enable_stream(rs.stream.color, WIDTH, HEIGHT, rs.format.rgb8, RATE)
        config.enable_stream(rs.stream.depth, WIDTH, HEIGHT, rs.format.z16, RATE)
        self._pipeline = rs.pipeline()
        profile = self._pipeline.start(config)
        self._metres_per_unit = np.float32(profile.get_device().first_depth_sensor().get_depth_scale())
        self._camera = profile.get_stream(rs.stream.color).as_video_stream_profile().get_intrinsics()
        self._align = rs.align(rs.stream.color)

    def capture(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The next pair; depth in metres, because the unit differs between models."""
        frames = self._align.process(self._pipeline.wait_for_frames())
        rgb = np.array(frames.get_color_frame().get_data(), np.uint8)
        depth = np.array(frames.get_depth_frame().get_data(), np.uint16)
        return rgb, depth * self._metres_per_unit

    def intrinsics(self) -> Intrinsics:
        """Of the colour stream."""
        return self._camera.fx, self._camera.fy, self._camera.ppx, self._camera.ppy

    def close(self) -> None:
        """Stop the pipeline."""
        self._pipeline.stop()
