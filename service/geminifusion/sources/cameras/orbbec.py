"""Orbbec, by pyorbbecsdk2, which is imported as pyorbbecsdk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyorbbecsdk as ob
from numpy.typing import NDArray

from geminifusion_runtime.decoding.depth import MILLIMETRE

from ..base import Intrinsics
from .live import HEIGHT, RATE, WIDTH, LiveCamera

_WAIT_MS = 1000


class OrbbecCamera(LiveCamera):
    """The first Orbbec; its depth is aligned to colour by its library."""

    def __init__(self) -> None:
        super().__init__("orbbec")
        self._pipeline = ob.Pipeline()
        config = ob.Config()
        colors = self._pipeline.get_stream_profile_list(ob.OBSensorType.COLOR_SENSOR)
        depths = self._pipeline.get_stream_profile_list(ob.OBSensorType.DEPTH_SENSOR)
        config.enable_stream(colors.get_video_stream_profile(WIDTH, HEIGHT, ob.OBFormat.RGB, RATE))
        config.enable_stream(depths.get_default_video_stream_profile())
        self._pipeline.enable_frame_sync()
        self._pipeline.start(config)
        self._align = ob.AlignFilter(align_to_stream=ob.OBStreamType.COLOR_STREAM)
        self._camera = self._pipeline.get_camera_param().rgb_intrinsic

    def capture(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The next pair; depth in metres, because the unit differs between models."""
        while True:
            frames = self._pipeline.wait_for_frames(_WAIT_MS)
            aligned = None if frames is None else self._align.process(frames)
            if aligned is None:
                continue
            frames = aligned.as_frame_set()
            color, depth = frames.get_color_frame(), frames.get_depth_frame()
            if color is not None and depth is not None:
                break
        size = color.get_height(), color.get_width()
        rgb = np.frombuffer(color.get_data(), np.uint8).reshape(*size, 3).copy()
        units = np.frombuffer(depth.get_data(), np.uint16).reshape(depth.get_height(), depth.get_width())
        return rgb, units * np.float32(depth.get_depth_scale() * MILLIMETRE)

    def intrinsics(self) -> Intrinsics:
        """Of the colour stream."""
        return self._camera.fx, self._camera.fy, self._camera.cx, self._camera.cy

    def close(self) -> None:
        """Stop the pipeline."""
        self._pipeline.stop()
