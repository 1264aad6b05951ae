"""What wrong or failing sensors do to a frame: no image, a turned camera, fewer beams, fog."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import numpy as np

from geminifusion_model.detection.calibration import turned
from geminifusion_model.detection.data.frame import DetectionFrame
from geminifusion_model.detection.evaluation.detecting import Change

_BEAMS = 64
_ELEVATION_DEG = (-24.9, 2.0)  # of KITTI's LiDAR
_FOG_M = 30.0  # at this range 1/e of the returns are left
_FOG_SEED = 0x0F06


def blank_image(frame: DetectionFrame, index: int) -> DetectionFrame:
    """The camera sees nothing: every pixel is black."""
    return dataclasses.replace(frame, image=np.zeros_like(frame.image))


def turned_camera(frame: DetectionFrame, index: int, *, degrees: float) -> DetectionFrame:
    """The calibration is that of a camera which has been turned sideways since, to either side in turn."""
    sign = 1 if index % 2 else -1
    return dataclasses.replace(frame, calibration=turned(frame.calibration, sign * degrees))


def fewer_beams(frame: DetectionFrame, index: int, *, beams: int) -> DetectionFrame:
    """Of 64 beams every second or fourth is left, told apart by elevation as if they were evenly spread."""
    x, y, z = frame.points[:, :3].T
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    low, high = _ELEVATION_DEG
    beam = np.rint((elevation - low) / (high - low) * (_BEAMS - 1)).astype(np.int64)
    return dataclasses.replace(frame, points=frame.points[beam % (_BEAMS // beams) == 0])


def fog(frame: DetectionFrame, index: int) -> DetectionFrame:
    """Returns are lost the more, the farther they come from; the image stays clear."""
    ranges = np.linalg.norm(frame.points[:, :3], axis=1)
    kept = np.random.default_rng((_FOG_SEED, index)).random(len(ranges)) < np.exp(-ranges / _FOG_M)
    return dataclasses.replace(frame, points=frame.points[kept])


CHANGES: Mapping[str, Change] = {
    "blank image": blank_image,
    "camera turned 0.5°": partial(turned_camera, degrees=0.5),
    "camera turned 1°": partial(turned_camera, degrees=1.0),
    "camera turned 2°": partial(turned_camera, degrees=2.0),
    "32 beams": partial(fewer_beams, beams=32),
    "16 beams": partial(fewer_beams, beams=16),
    "fog": fog,
}
"""All of them, by name."""
