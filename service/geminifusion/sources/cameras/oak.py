"""Luxonis OAK with stereo depth, by depthai 3."""

from __future__ import annotations

from typing import Any

import depthai as dai
import numpy as np
from numpy.typing import NDArray

from ..base import Intrinsics
from .live import HEIGHT, RATE, WIDTH, LiveCamera

_MONO = (640, 400)  # of both grey cameras, which depth is computed from


class OakCamera(LiveCamera):
    """The first OAK; its depth is aligned to colour on the device."""

    def __init__(self) -> None:
        super().__init__("oak")
        socket = dai.CameraBoardSocket
        self._pipeline = dai.Pipeline()
        color, left, right = (
            self._pipeline.create(dai.node.Camera).build(which) for which in (socket.CAM_A, socket.CAM_B, socket.CAM_C)
        )
        stereo = self._pipeline.create(dai.node.StereoDepth)
        sync = self._pipeline.create(dai.node.Sync)
        rgb = color.requestOutput((WIDTH, HEIGHT), dai.ImgFrame.Type.RGB888i, fps=RATE)
        left.requestOutput(_MONO, fps=RATE).link(stereo.left)
        right.requestOutput(_MONO, fps=RATE).link(stereo.right)
        rgb.link(stereo.inputAlignTo)
        rgb.link(sync.inputs["rgb"])
        stereo.depth.link(sync.inputs["depth"])
        self._queue = sync.out.createOutputQueue()
        self._pipeline.start()
        calibration = self._pipeline.getDefaultDevice().readCalibration()
        self._matrix = calibration.getCameraIntrinsics(socket.CAM_A, WIDTH, HEIGHT)

    def capture(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The next pair; depth in millimetres."""
        group = self._queue.get()
        rgb = np.array(group["rgb"].getFrame(), np.uint8)
        return rgb, np.array(group["depth"].getFrame(), np.uint16)

    def intrinsics(self) -> Intrinsics:
        """Of the colour camera."""
        (fx, _, cx), (_, fy, cy), _ = self._matrix
        return fx, fy, cx, cy

    def close(self) -> None:
        """Stop the device."""
        self._pipeline.stop()
