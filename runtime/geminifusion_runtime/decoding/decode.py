"""Decoding of the images of one request, to the arrays a model takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.decoding.depth import DepthImage, to_metres
from geminifusion_runtime.decoding.hha import hha_from_depth
from geminifusion_runtime.decoding.image_headers import read_header
from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.decoding.orientation import orientation_warnings
from geminifusion_runtime.decoding.pictures import as_picture, decode_picture
from geminifusion_runtime.decoding.sensor_health import color_health, depth_health, picture_health
from geminifusion_runtime.errors import (
    ImageTooLargeError,
    InvalidOptionError,
    UnprocessableError,
    UnsupportedImageError,
)
from geminifusion_runtime.types import NOT_ASSESSED, SensorHealth

# HHA takes a microsecond and 256 bytes for each pixel; depth cameras have up to 1920x1200 pixels.
MAX_HHA_PIXELS = 1920 * 1200


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """One modality as the model takes it, with warnings for the client.

    `H W` or `H W 3`, in the dtype and unit of its `ModalitySpec`.

    Args:
        health: of the frame that came, also where another takes its place.
        measured: it came from a sensor; else it was made from the others, and says nothing about places.
    """

    array: NDArray[np.generic]
    health: SensorHealth = NOT_ASSESSED
    warnings: tuple[str, ...] = ()
    measured: bool = True


@dataclass(frozen=True, kw_only=True)
class DecodedRequest:
    """The decoded images of a request, by modality name, and the camera of the pixels that measure distance."""

    images: Mapping[str, DecodedImage]
    camera: Intrinsics | None = None


def measured_arrays(images: Mapping[str, DecodedImage]) -> dict[str, NDArray[np.generic]]:
    """The arrays of the images that came from a sensor, by modality name."""
    return {name: image.array for name, image in images.items() if image.measured}


def sensor_healths(images: Mapping[str, DecodedImage]) -> dict[str, SensorHealth]:
    """State of the sensor of every image that came, by modality name."""
    return {name: image.health for name, image in images.items() if image.measured or image.health is not NOT_ASSESSED}


def decode_modality(
    data: bytes | NDArray[np.generic],
    spec: ModalitySpec,
    *,
    max_pixels: int,
    scale: float | None = None,
    invalid: Sequence[float] = (),
    intrinsics: Sequence[float] | None = None,
    may_hold_gil: bool = False,
) -> DecodedImage:
    """Decode one image to what the model takes; an array is taken as decoded.

    Args:
        data: an encoded file, or an array of stored values.
        spec: the input of the model that it is for.
        max_pixels, may_hold_gil: see `decode_rgb`.
        scale: metres per stored unit, for `metre` and for HHA that is computed from depth; of no effect elsewhere.
        invalid: stored values that mean "no measurement", for `metre`, `count` and HHA computed from depth.
        intrinsics: fx, fy, cx, cy of the depth camera in pixels of the image, for HHA computed from depth.

    Raises:
        GeminiFusionError: as `decode_rgb`, `decode_depth`, `to_metres` and `decode_picture` say.
        UnprocessableError: an array of another type or shape.
        InvalidOptionError: HHA has to be computed, and the camera is not known.
    """
    image = _decode(
        _in_native_order(data) if isinstance(data, np.ndarray) else data,
        spec,
        max_pixels=max_pixels,
        scale=scale,
        invalid=invalid,
        intrinsics=intrinsics,
        may_hold_gil=may_hold_gil,
    )
    notes = orientation_warnings(data, spec.name) if isinstance(data, bytes) else ()
    return dataclasses.replace(image, warnings=(*notes, *image.warnings)) if notes else image


def _decode(
    data: bytes | NDArray[np.generic],
    spec: ModalitySpec,
    *,
    max_pixels: int,
    scale: float | None,
    invalid: Sequence[float],
    intrinsics: Sequence[float] | None,
    may_hold_gil: bool,
) -> DecodedImage:
    if spec.unit == "metre" or (spec.encoding == "hha" and _is_depth(data, spec, scale)):
        most = max_pixels if spec.unit == "metre" else _pixels_for_hha(data, spec, max_pixels)
        depth = _decode_metres(data, spec, most, scale, invalid, may_hold_gil)
        if depth.metres.ndim != 2 or not depth.metres.size:  # rejected in preprocessing, which knows the whole model
            return DecodedImage(array=depth.metres, warnings=depth.warnings)
        health = depth_health(depth.metres, _trained_range(spec))
        array = depth.metres if spec.unit == "metre" else _hha(depth.metres, spec, intrinsics)
        return DecodedImage(array=array, warnings=depth.warnings, health=health)
    if spec.encoding == "imagenet":
        image = (
            _color_array(data, spec)
            if isinstance(data, np.ndarray)
            else decode_rgb(data, max_pixels=max_pixels, field=spec.name, may_hold_gil=may_hold_gil)
        )
        return DecodedImage(array=image, health=color_health(image))
    picture = (
        as_picture(data, spec, invalid=invalid)
        if isinstance(data, np.ndarray)
        else decode_picture(data, spec, max_pixels=max_pixels, invalid=invalid, may_hold_gil=may_hold_gil)
    )
    return DecodedImage(array=picture.pixels, warnings=picture.warnings, health=picture_health(picture.pixels, spec))


def _in_native_order(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same numbers in this machine's byte order, which types are compared in: `>u2` is no other type than `<u2`."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _color_array(array: NDArray[np.generic], spec: ModalitySpec) -> NDArray[np.uint8]:
    """Colour pixels as they are: numbers of another type or scale cannot be told from a picture once they are cast."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UnprocessableError(
            f"{spec.name} is {array.dtype} of shape {array.shape}; expected uint8, height x width x 3: send the "
            "picture's own 8-bit values in RGB order, neither scaled nor normalised, which the model does itself"
        )
    return array.astype(np.uint8, copy=False)


def _is_depth(data: bytes | NDArray[np.generic], spec: ModalitySpec, scale: float | None) -> bool:
    """Whether what came for an HHA picture is a depth map: one channel, of more than 8 bits or with a scale."""
    if isinstance(data, np.ndarray):
        return data.ndim == 2 and (data.dtype != np.uint8 or scale is not None)
    header = read_header(data, spec.name)
    return header.channels == 1 and (header.bits > 8 or scale is not None)


def _pixels_for_hha(data: bytes | NDArray[np.generic], spec: ModalitySpec, max_pixels: int) -> int:
    """Most pixels of depth that HHA is computed from; raises ImageTooLargeError for an array of more."""
    most = min(max_pixels, MAX_HHA_PIXELS)
    if isinstance(data, np.ndarray) and data.size > most:
        height, width = data.shape[:2]
        raise ImageTooLargeError(
            f"{spec.name} is {width}x{height} distances; HHA is computed of up to {most / 1e6:.1f} megapixels: send "
            "smaller depth, or the HHA picture"
        )
    return most


def _decode_metres(
    data: bytes | NDArray[np.generic],
    spec: ModalitySpec,
    max_pixels: int,
    scale: float | None,
    invalid: Sequence[float],
    may_hold_gil: bool,
) -> DepthImage:
    if isinstance(data, np.ndarray):
        if data.ndim == 3 and data.shape[2] == 1:
            data = data[..., 0]
        if data.ndim == 3 and data.shape[2] <= 4:
            raise UnsupportedImageError(
                f"{spec.name} has {data.shape[2]} channels, expected one; send the raw depth, not a picture of it"
            )
        if data.ndim != 2 or not data.size:
            raise UnprocessableError(
                f"{spec.name} is {data.dtype} of shape {data.shape}; expected the raw depth, height x width"
            )
        return to_metres(
            data, depth_scale=scale, depth_invalid=invalid, field=spec.name, trained_range=_trained_range(spec)
        )
    return decode_depth(
        data,
        max_pixels=max_pixels,
        depth_scale=scale,
        depth_invalid=invalid,
        field=spec.name,
        trained_range=_trained_range(spec),
        may_hold_gil=may_hold_gil,
    )


def _trained_range(spec: ModalitySpec) -> tuple[float, float] | None:
    """Metres that the network tells apart; unknown where it is given HHA."""
    return spec.range if spec.unit == "metre" else None


def _hha(metres: NDArray[np.float32], spec: ModalitySpec, intrinsics: Sequence[float] | None) -> NDArray[np.uint8]:
    if intrinsics is None:
        raise InvalidOptionError(
            f"{spec.name} came as distances, and the model takes HHA, which cannot be computed without the camera: "
            "send intrinsics=fx,fy,cx,cy in pixels of the depth image, or the HHA picture, three channels of 8 bits"
        )
    fx, fy = intrinsics[:2]
    if min(fx, fy) <= 0:
        raise InvalidOptionError(
            f"intrinsics have focal lengths {fx:g} and {fy:g}; send fx,fy,cx,cy in pixels of the depth image"
        )
    camera = Intrinsics.of(intrinsics)
    if problem := camera.problem(metres.shape):
        raise InvalidOptionError(f"intrinsics {problem}; send fx,fy,cx,cy in pixels of the depth image")
    return np.rint(hha_from_depth(metres, camera)).astype(np.uint8)
