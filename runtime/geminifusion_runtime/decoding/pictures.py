"""Decoders for pictures of sensors other than a colour or a depth camera: thermal, event, LiDAR, HHA.

What a model takes is in its `ModalitySpec`: 8-bit pictures as uint8 (`intensity`), or stored numbers of more bits as
float32 (`count`), with one channel or three. Nothing is scaled: the graph knows the range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.image_headers import ImageHeader, read_header
from geminifusion_runtime.decoding.images import check_pixels, check_tiff_compression, decode_pixels, decode_rgb
from geminifusion_runtime.errors import UnsupportedImageError

_MOST_OUTSIDE = 0.5  # share of the pixels beyond the range the network was trained on


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Pixels as the model takes them, NaN where a `count` was not measured, with warnings for the client."""

    pixels: NDArray[np.generic]
    warnings: tuple[str, ...] = ()


def decode_picture(
    data: bytes, spec: ModalitySpec, *, max_pixels: int, invalid: Sequence[float] = (), may_hold_gil: bool = False
) -> Picture:
    """Decode a PNG, JPEG, WebP, TIFF or npy of 8 bits for `intensity`; a PNG, TIFF or npy of more bits for `count`.

    Args:
        data: the encoded image.
        spec: the input of the model that it is for.
        max_pixels: reject an image whose header promises more.
        invalid: see `as_picture`.
        may_hold_gil: no other thread of this process has to run meanwhile.

    Raises:
        UndecodableImageError: not an image, or a damaged one.
        UnsupportedImageError: other bits, channels or compression than the model was trained with.
        ImageTooLargeError: too many pixels.
    """
    header = read_header(data, spec.name)
    _check_header(header, spec)
    check_pixels(header, max_pixels, spec.name)
    if spec.unit == "intensity" and spec.channels == 3 and header.format in ("png", "jpeg", "webp"):
        return Picture(pixels=decode_rgb(data, max_pixels=max_pixels, field=spec.name, may_hold_gil=may_hold_gil))
    stored = decode_pixels(data, header, spec.name, may_hold_gil=may_hold_gil)
    if header.channels == 1 and stored.ndim == 3 and header.format != "npy":
        raise UnsupportedImageError(f"{spec.name} is a palette image; send the sensor's own picture, {wanted(spec)}")
    return as_picture(stored, spec, invalid=invalid)


def as_picture(stored: NDArray[np.generic], spec: ModalitySpec, *, invalid: Sequence[float] = ()) -> Picture:
    """Check pixels against the model; one channel is repeated where three are taken, three equal ones are one.

    Args:
        stored: `H W` or `H W C`.
        spec: the input of the model that they are for.
        invalid: stored numbers that mean "no measurement", compared exactly; they become NaN. Of `count` only.

    Raises:
        UnsupportedImageError: another dtype or number of channels than the model was trained with.
    """
    if stored.ndim == 3 and stored.shape[2] == 1:
        stored = stored[..., 0]
    is_count = spec.unit == "count"
    suits = stored.dtype.kind in "fiu" and stored.dtype.itemsize > 1 if is_count else stored.dtype == np.uint8
    if not suits:
        raise UnsupportedImageError(f"{spec.name} is of dtype {stored.dtype}; send {wanted(spec)}")
    fitted = _with_channels(stored, spec)
    if not is_count:
        return Picture(pixels=np.ascontiguousarray(fitted))
    with np.errstate(over="ignore"):  # beyond single precision is infinite, which is no measurement
        numbers = fitted.astype(np.float32)
        for marker in invalid:
            numbers[numbers == np.float32(marker)] = np.nan
    return Picture(pixels=np.ascontiguousarray(numbers), warnings=_range_warnings(numbers, spec))


def wanted(spec: ModalitySpec) -> str:
    """What a client has to send for an input, in words."""
    channels = "one channel" if spec.channels == 1 else "three channels"
    if spec.encoding == "hha":
        return "the HHA picture, three channels of 8 bits, or depth in metres with intrinsics=fx,fy,cx,cy"
    if spec.unit == "metre":
        return "the raw depth, one channel: a 16-bit PNG, TIFF or npy"
    if spec.unit == "count":
        return f"the sensor's stored numbers, {channels} of 16 bits or floats (PNG, TIFF or npy)"
    return f"{channels} of 8 bits per pixel"


def _check_header(header: ImageHeader, spec: ModalitySpec) -> None:
    name, kind = spec.name, header.format.upper()
    if spec.unit == "count" and header.format in ("jpeg", "webp"):
        raise UnsupportedImageError(
            f"{name} is {kind}, which holds 8 bits per channel, and the model was trained on more; send {wanted(spec)}"
        )
    if header.bits < 8 or (header.bits == 8) != (spec.unit == "intensity"):
        number = "float" if header.is_float else "integer"
        raise UnsupportedImageError(
            f"{name} is a {kind} of {header.bits}-bit {number} values, "
            f"the model was trained on {'8 bits' if spec.unit == 'intensity' else 'more than 8 bits'}; "
            f"send {wanted(spec)}"
        )
    with_alpha = header.format == "png" and header.channels == 4 and spec.channels == 3 and spec.unit == "intensity"
    if spec.encoding == "hha" and header.channels == 1:
        raise UnsupportedImageError(f"{name} has one channel; send {wanted(spec)}")
    if header.channels not in (1, 3) and not with_alpha:
        raise UnsupportedImageError(
            f"{name} has {header.channels} channels; send {wanted(spec)} "
            "(channels of several sensors in one file must be split)"
        )
    check_tiff_compression(header, name)


def _with_channels(stored: NDArray[np.generic], spec: ModalitySpec) -> NDArray[np.generic]:
    takes = (3,) if spec.encoding == "hha" else (2, 3)
    if stored.ndim not in takes or not stored.size or (stored.ndim == 3 and stored.shape[2] != 3):
        raise UnsupportedImageError(f"{spec.name} has shape {stored.shape}; send {wanted(spec)}")
    if spec.channels == 3:
        return np.repeat(stored[..., None], 3, axis=2) if stored.ndim == 2 else stored
    if stored.ndim == 2:
        return stored
    if not (stored == stored[..., :1]).all():
        raise UnsupportedImageError(
            f"{spec.name} has three different channels; send {wanted(spec)}, not a coloured picture of it"
        )
    return stored[..., 0]


def _range_warnings(numbers: NDArray[np.float32], spec: ModalitySpec) -> tuple[str, ...]:
    low, high = spec.range
    sample = numbers[::8, ::8]
    sample = sample[np.isfinite(sample)].astype(np.float64)  # in which no mean of them overflows
    outside = float(((sample < low) | (sample > high)).mean()) if sample.size else 0.0
    if outside <= _MOST_OUTSIDE:
        return ()
    return (
        f"{spec.name} is outside {low:g} to {high:g}, the range the model was trained on, at {outside:.0%} of its "
        f"pixels (median {float(np.median(sample)):g}), which looks like a wrong unit; send numbers as in training",
    )
