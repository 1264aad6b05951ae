"""Calibrations in files, and what a training or evaluation changes in one.

Parsing and projecting are `geminifusion_runtime.detection.calibration`'s.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from geminifusion_model.data.sample import DatasetError
from geminifusion_runtime.detection.calibration import MAX_BYTES, Calibration, decode_calibration
from geminifusion_runtime.errors import GeminiFusionError


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file, KITTI's text or JSON.

    Raises:
        DatasetError: the file is missing, no calibration, or one that cannot be inverted.
    """
    try:
        with path.open("rb") as stream:
            return decode_calibration(stream.read(MAX_BYTES + 1))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}; every frame needs its calibration") from None
    except GeminiFusionError as error:
        raise DatasetError(f"{path}: {error}") from None


def calibration_text(calibration: Calibration) -> str:
    """The calibration as KITTI's object benchmark writes it.

    Cameras and sensors that it does not know take plain values: P0, P1 and P3 are P2 without its offset, and the
    inertial unit stands in the LiDAR.
    """
    plain = calibration.p2.copy()
    plain[:, 3] = 0
    matrices = {
        "P0": plain,
        "P1": plain,
        "P2": calibration.p2,
        "P3": plain,
        "R0_rect": calibration.r0_rect,
        "Tr_velo_to_cam": calibration.tr_velo_to_cam,
        "Tr_imu_to_velo": np.eye(4)[:3],
    }
    return "".join(f"{name}: {' '.join(f'{x:.12e}' for x in matrix.flat)}\n" for name, matrix in matrices.items())


def turned(calibration: Calibration, degrees: float) -> Calibration:
    """The calibration of a camera that was turned sideways by so many degrees after it was calibrated.

    The wrong pose moves the projection of every point by about `fx·tan(degrees)` pixels, whatever its distance.
    """
    angle = math.radians(degrees)
    turn = np.eye(3)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    return dataclasses.replace(calibration, tr_velo_to_cam=turn @ calibration.tr_velo_to_cam)
