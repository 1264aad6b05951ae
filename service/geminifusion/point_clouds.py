"""The points of a result, from the depth that was posted with it: the same as a server sends as `format=ply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.camera import Intrinsics, Pose
from geminifusion_runtime.decoding.depth import to_metres
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.geometry.files import cloud_comments, encode_cloud
from geminifusion_runtime.geometry.points import PointCloud, point_cloud, points_map
from geminifusion_runtime.geometry.registration import register_depth
from geminifusion_runtime.option_types import ModalityOptions
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.types import CloudFormat

from .cameras import Numbers
from .errors import InvalidInputError, requires_extra
from .images import picture, stored_values
from .options import checked_options

if TYPE_CHECKING:
    from .results import Result

_FORMATS: dict[str, CloudFormat] = {".ply": "ply", ".pcd": "pcd", ".npz": "cloud-npz"}


def result_cloud(result: Result, intrinsics: Numbers | None, depth: str) -> tuple[PointCloud, Intrinsics]:
    """The points of a result, and the camera of their pixels; see `Result.to_pointcloud`."""
    metres, camera = _measured(result, intrinsics, depth)
    rgb = result.sources.get("rgb")
    cloud = point_cloud(
        metres,
        camera,
        labels=result.labels,
        colors=result.palette[result.labels] if rgb is None else picture(rgb),
        confidence=result.confidence,
    )
    return cloud, camera


def result_points_map(result: Result, intrinsics: Numbers | None, depth: str = "depth") -> NDArray[np.float32]:
    """`H W 3` float32 metres in camera axes of all pixels, 0 where nothing was measured.

    Raises:
        InvalidInputError: see `Result.to_pointcloud`.
    """
    return points_map(*_measured(result, intrinsics, depth))


def _measured(result: Result, intrinsics: Numbers | None, depth: str) -> tuple[NDArray[np.float32], Intrinsics]:
    """The distances at the pixels of the labels, and the camera of these."""
    options = result.posted or SegmentOptions()
    metres = _posted_metres(result, options, depth)
    given = options if intrinsics is None else checked_options({"intrinsics": intrinsics})
    if not given.intrinsics:
        raise InvalidInputError(
            f"points need the camera of {depth}; give intrinsics=(fx, fy, cx, cy) in pixels of the one that was posted"
        )
    camera = _camera("intrinsics", given.intrinsics, metres.shape)
    metres, camera = _aligned(metres, camera, options, result.labels.shape)
    if metres.shape != result.labels.shape:
        raise InvalidInputError(
            f"{depth} is {metres.shape} but the labels are {result.labels.shape}; was it registered?"
        )
    return metres, camera


def save_cloud(result: Result, path: Path, intrinsics: Numbers | None, depth: str) -> Path:
    """Write the points of a result; see `Result.save_pointcloud`."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise InvalidInputError(f"cannot save points as {suffix or 'a file without suffix'!r}; use .ply, .pcd or .npz")
    cloud, camera = result_cloud(result, intrinsics, depth)
    names = {share.id: share.name for share in result.classes}
    path.write_bytes(encode_cloud(cloud, _FORMATS[suffix], cloud_comments(result.model, camera, names)))
    return path


def _posted_metres(result: Result, options: SegmentOptions, name: str) -> NDArray[np.float32]:
    """The distances as they were posted, `H W` metres, 0 where nothing was measured."""
    if result.depth_m is not None:
        return result.depth_m
    if name not in result.sources:
        raise InvalidInputError(
            f"this result was made without {name}, so its points are not known; it has "
            f"{', '.join(result.sources) or 'no images'}"
        )
    stored = stored_values(result.sources[name])
    own = ModalityOptions(options.scales.get(name), options.invalids.get(name, ()))
    if name == "depth":
        own = ModalityOptions(options.depth_scale, options.depth_invalid)
    if stored.dtype.kind == "f":
        stored = stored.astype(np.float32, copy=False)  # as it is sent
    if stored.ndim != 2:
        raise InvalidInputError(f"{name} has {stored.ndim} axes, and distances have two; name the modality in metres")
    try:
        return to_metres(stored, depth_scale=own.scale, depth_invalid=own.invalid, field=name).metres
    except GeminiFusionError as error:
        raise InvalidInputError(str(error)) from None


def _camera(name: str, values: tuple[float, ...], size: tuple[int, ...]) -> Intrinsics:
    camera = Intrinsics.of(values)
    if problem := camera.problem((size[0], size[1])):
        raise InvalidInputError(f"{name} {problem}; give those of the image that was posted")
    return camera


def _aligned(
    metres: NDArray[np.float32], camera: Intrinsics, options: SegmentOptions, size: tuple[Any, ...]
) -> tuple[NDArray[np.float32], Intrinsics]:
    """The distances at the pixels of the labels, as the request had them aligned, and the camera of these."""
    height, width = size
    if options.align == "register":
        target = _camera("rgb_intrinsics", options.rgb_intrinsics, size)
        pose = Pose.of(options.extrinsics)
        return register_depth(metres, camera, target=target, pose=pose, size=(height, width)), target
    if options.align == "resize" and metres.shape != size:
        with requires_extra("resizing depth", "client"):
            import cv2
        resized = cv2.resize(metres, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        rows, columns = metres.shape
        return resized.astype(np.float32, copy=False), camera.resized((rows, columns), (height, width))
    return metres, camera
