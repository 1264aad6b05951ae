"""Bringing of the modalities to the same pixels, where the client asks for it, and the camera of those pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import NamedTuple

import cv2
import numpy as np

from geminifusion_runtime.artifact import ModalitySpec, SegmentationMetadata
from geminifusion_runtime.camera import Intrinsics, Pose
from geminifusion_runtime.decoding.decode import DecodedImage, measured_arrays
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.geometry.registration import register_depth
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.types import CLOUD_FORMATS

_SAME_SHAPE = 0.02  # aspect ratios that differ by more make a warning


class AlignedImages(NamedTuple):
    """Images by modality, and the camera of the pixels of the one that measures distance, where it is known."""

    images: dict[str, DecodedImage]
    camera: Intrinsics | None


def align_images(
    images: Mapping[str, DecodedImage], metadata: SegmentationMetadata, options: SegmentOptions
) -> AlignedImages:
    """Align the images of a request as its options say.

    Args:
        images: by modality name, in the model's order; for `align=register` with rgb and distances among them.
        metadata: of the model, whose camera is used where the request names none.
        options: of the request.

    Raises:
        InvalidOptionError: a camera cannot be that of its image, or registration leaves nothing.
    """
    specs = {spec.name: spec for spec in metadata.modalities}
    distance = metadata.distance_modality(measured_arrays(images))
    camera = None if distance is None else _camera(images[distance], metadata, options)
    if distance is not None and camera is not None and options.align == "register":
        return _registered(images, distance, camera, options)
    if options.align != "resize":
        return AlignedImages(dict(images), camera)
    resized = resize_to_reference(images, specs)
    if distance is not None and camera is not None:
        camera = camera.resized(images[distance].array.shape[:2], resized[distance].array.shape[:2])
    return AlignedImages(resized, camera)


def _camera(image: DecodedImage, metadata: SegmentationMetadata, options: SegmentOptions) -> Intrinsics | None:
    """The depth camera; the model's own is passed over where it is of another size and nothing asked for needs it."""
    values = options.intrinsics or metadata.intrinsics
    if values is None:
        return None
    camera = Intrinsics.of(values)
    if problem := camera.problem(image.array.shape[:2]):
        if not options.intrinsics and options.align != "register" and options.format not in CLOUD_FORMATS:
            return None
        whose = "intrinsics" if options.intrinsics else f"the intrinsics that {metadata.reference} brings"
        raise InvalidOptionError(f"{whose} {problem}; send intrinsics=fx,fy,cx,cy in pixels of the depth that you send")
    return camera


def _registered(
    images: Mapping[str, DecodedImage], distance: str, camera: Intrinsics, options: SegmentOptions
) -> AlignedImages:
    """The images with the distances at the pixels of rgb, whose camera they then have."""
    height, width = images["rgb"].array.shape[:2]
    target = Intrinsics.of(options.rgb_intrinsics)
    if problem := target.problem((height, width)):
        raise InvalidOptionError(f"rgb_intrinsics {problem}; send those of the rgb that you send")
    depth = images[distance]
    try:
        array = register_depth(
            depth.array.astype(np.float32, copy=False),
            camera,
            target=target,
            pose=Pose.of(options.extrinsics),
            size=(height, width),
        )
    except ValueError as error:
        raise InvalidOptionError(f"intrinsics, rgb_intrinsics and extrinsics {error}") from None
    measured = np.count_nonzero(array) / array.size
    if not measured and depth.array.any():
        raise InvalidOptionError(
            f"with these extrinsics rgb sees no point of {distance}; send [R|t] from the depth camera to the rgb "
            "camera, not the other way round"
        )
    rows, columns = depth.array.shape[:2]
    note = f"{distance} ({columns}x{rows}) was registered to rgb, of whose pixels {measured:.0%} have a distance"
    moved = dataclasses.replace(depth, array=array, warnings=(*depth.warnings, note))
    return AlignedImages({**images, distance: moved}, target)


def size_reference(names: Collection[str]) -> str:
    """The modality whose size the labels have: rgb, or else the first one.

    Args:
        names: of what came, in the model's order; at least one.
    """
    return "rgb" if "rgb" in names else next(iter(names))


def resize_to_reference(
    images: Mapping[str, DecodedImage], specs: Mapping[str, ModalitySpec]
) -> dict[str, DecodedImage]:
    """Resize every image to the size of `size_reference`.

    Distances and HHA by nearest neighbour, because a mean over a depth edge would be a place where nothing is; the
    others by area or bilinearly. Only sizes are matched: frames of cameras at different places are registered.

    Args:
        images: by modality name, in the model's order.
        specs: of the model, by name.
    """
    if not images:
        return {}
    reference = size_reference(images)
    height, width = images[reference].array.shape[:2]
    aligned = dict(images)
    for name, image in images.items():
        rows, columns = image.array.shape[:2]
        if (rows, columns) == (height, width):
            continue
        if not specs[name].can_average:
            method = cv2.INTER_NEAREST_EXACT
        else:
            method = cv2.INTER_AREA if rows > height else cv2.INTER_LINEAR
        notes = [f"{name} was resized from {columns}x{rows} to {width}x{height}"]
        if abs(columns * height / (rows * width) - 1) > _SAME_SHAPE:
            notes.append(f"{name} has another shape than {reference}, so it was stretched; are both the same view?")
        resized = cv2.resize(image.array.astype(specs[name].dtype, copy=False), (width, height), interpolation=method)
        aligned[name] = dataclasses.replace(image, array=resized, warnings=(*image.warnings, *notes))
    return aligned
