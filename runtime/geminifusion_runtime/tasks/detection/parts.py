"""What a detection request carries beside the image, and how it is decoded."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from geminifusion_runtime.decoding.clouds import decode_cloud
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.detection.calibration import Calibration, decode_calibration

MAX_POINTS: Final = 2**20  # of a sweep; the densest LiDARs have half of it


@dataclass(frozen=True, kw_only=True)
class PointsSpec:
    """The LiDAR's sweep; see `decode_cloud`."""

    name: Literal["points"] = "points"


@dataclass(frozen=True, kw_only=True)
class CalibrationSpec:
    """The calibration of both; see `decode_calibration`."""

    name: Literal["calibration"] = "calibration"


def decode_points(data: bytes | NDArray[np.generic], spec: PointsSpec, **_: Any) -> DecodedImage:  # noqa: ANN401
    """Points `P 4` float32; options and limits of images are passed over."""
    cloud = decode_cloud(data, max_points=MAX_POINTS, field=spec.name)
    return DecodedImage(array=cloud.points, warnings=cloud.warnings)


def decode_packed_calibration(
    data: bytes | NDArray[np.generic],
    spec: CalibrationSpec,
    **_: Any,  # noqa: ANN401 - options and limits of images
) -> DecodedImage:
    """A calibration as `Calibration.packed` has it; an array is taken as one."""
    found = Calibration.of_packed(data) if isinstance(data, np.ndarray) else decode_calibration(data)
    return DecodedImage(array=found.packed())
