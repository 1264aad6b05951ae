"""The points of frames whose camera is known: files of them, and maps for recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..point_clouds import result_points_map
from ..results import Result
from ..sources.base import Intrinsics, SourceFrame
from .base import SinkRequest
from .frame_files import FrameFiles

_BYTES_PER_POINT = 20.0


def ply_files(request: SinkRequest) -> FrameFiles:
    """The points as PLY."""
    return _cloud_files(request, ".ply")


def pcd_files(request: SinkRequest) -> FrameFiles:
    """The points as PCD."""
    return _cloud_files(request, ".pcd")


def cloud_npz_files(request: SinkRequest) -> FrameFiles:
    """The points as arrays."""
    return _cloud_files(request, "_cloud.npz")


def frame_points(frame: SourceFrame, result: Result) -> NDArray[np.float32] | None:
    """`H W 3` float32 metres of all pixels, NaN where nothing was measured; None without depth or a known camera."""
    try:
        points = result_points_map(result, _camera(frame, result))
    except InvalidInputError:
        return None
    points[points[..., 2] <= 0] = np.nan
    return points


def _cloud_files(request: SinkRequest, ending: str) -> FrameFiles:
    def write(frame: SourceFrame, result: Result, path: Path) -> None:
        result.save_pointcloud(path, _camera(frame, result))

    return FrameFiles(request, ending=ending, write=write, bytes_per_pixel=_BYTES_PER_POINT)


def _camera(frame: SourceFrame, result: Result) -> Intrinsics | None:
    """The camera of a recording, unless the request names one."""
    return None if result.posted is not None and result.posted.intrinsics else frame.intrinsics
