"""Decoders for colour and depth images, of the service and of training alike.

Depth is aligned to colour pixel by pixel, so an orientation tag is never applied; see `orientation`.
JPEG and most PNGs have fast decoders, OpenCV does the rest. All release the GIL, except for the fastest one for PNG.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from geminifusion_runtime.decoding.depth import DepthImage, to_metres
from geminifusion_runtime.decoding.image_headers import ImageHeader, read_header
from geminifusion_runtime.decoding.netpbm import decode_netpbm
from geminifusion_runtime.decoding.npy_layout import read_npy_layout
from geminifusion_runtime.decoding.orientation import without_orientation
from geminifusion_runtime.decoding.png import PngError, decode_png, decode_png_holding_gil
from geminifusion_runtime.errors import ImageTooLargeError, UndecodableImageError, UnsupportedImageError

_COLOR_FORMATS = ("png", "jpeg", "webp", "ppm", "pgm")
_DEPTH_FORMATS = ("png", "tiff", "pgm", "npy")
_TIFF_COMPRESSIONS = {1: "no compression", 5: "LZW", 8: "deflate", 32946: "the older deflate", 32773: "PackBits"}


def decode_rgb(data: bytes, *, max_pixels: int, field: str = "rgb", may_hold_gil: bool = False) -> NDArray[np.uint8]:
    """Decode an 8-bit PNG, JPEG, WebP, PGM or PPM; grey is spread over three channels, alpha is dropped.

    Args:
        data: the encoded image.
        max_pixels: reject an image whose header promises more.
        field: its name in the request, for messages.
        may_hold_gil: no other thread of this process has to run meanwhile.

    Returns:
        `H W 3` uint8, RGB, as stored: an EXIF orientation is not applied.

    Raises:
        UndecodableImageError: not an image, or a damaged one.
        UnsupportedImageError: 16-bit colour, CMYK, animated, or a format meant for depth.
        ImageTooLargeError: too many pixels.
    """
    header = read_header(data, field)
    if header.format not in _COLOR_FORMATS:
        raise UnsupportedImageError(f"{field} is {header.format.upper()}; send PNG, JPEG or WebP")
    if header.bits > 8:
        raise UnsupportedImageError(
            f"{field} has {header.bits} bits per channel; send 8 (is it the depth image, sent in the wrong place?)"
        )
    if header.format == "jpeg" and header.channels not in (1, 3):
        raise UnsupportedImageError(f"{field} is a JPEG of {header.channels} channels (CMYK); send RGB or grey")
    check_pixels(header, max_pixels, field)
    if header.format in ("pgm", "ppm"):
        stored = decode_netpbm(data)
        return np.ascontiguousarray(np.broadcast_to(stored.reshape(*stored.shape[:2], -1), (*stored.shape[:2], 3)))
    image = _decode_fast(data, header, field, may_hold_gil) if header.channels == 3 and header.bits == 8 else None
    if image is None:
        image = _decode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, header, field)
    return image.astype(np.uint8, copy=False)


def decode_depth(
    data: bytes,
    *,
    max_pixels: int,
    depth_scale: float | None = None,
    depth_invalid: Sequence[float] = (),
    field: str = "depth",
    trained_range: tuple[float, float] | None = None,
    may_hold_gil: bool = False,
) -> DepthImage:
    """Decode a depth image: 16-bit PNG or PGM, 8-bit with a scale, TIFF (uint16 or float32) or npy.

    Args:
        data: the encoded image.
        max_pixels: reject an image whose header promises more.
        depth_scale: metres per stored unit; None reads integers as millimetres and floats as metres.
        depth_invalid, trained_range: see `to_metres`.
        field: its name in the request, for messages.
        may_hold_gil: no other thread of this process has to run meanwhile.

    Raises:
        UndecodableImageError, UnsupportedImageError, ImageTooLargeError, DepthScaleRequiredError,
        InvalidOptionError: as for `decode_rgb` and `to_metres`.
    """
    header = read_header(data, field)
    if header.format not in _DEPTH_FORMATS:
        raise UnsupportedImageError(
            f"{field} is {header.format.upper()}, which cannot hold distances; send a 16-bit PNG, TIFF or npy"
        )
    if header.channels != 1:
        raise UnsupportedImageError(
            f"{field} has {header.channels} channels, expected one; send the raw depth, not a picture of it"
        )
    if header.format == "png" and header.bits < 8:
        raise UnsupportedImageError(f"{field} has {header.bits} bits per pixel; send a 16-bit PNG, TIFF or npy")
    if header.format == "tiff" and (header.bits, header.is_float) not in ((16, False), (32, True)):
        raise UnsupportedImageError(
            f"{field} is a TIFF of {header.bits}-bit {'float' if header.is_float else 'integer'} values; "
            "send 16-bit unsigned integers or 32-bit floats"
        )
    check_tiff_compression(header, field)
    check_pixels(header, max_pixels, field)
    readings = decode_pixels(data, header, field, may_hold_gil=may_hold_gil)
    if readings.ndim != 2:
        # The header of a palette image says one channel, and it decodes to colours.
        raise UnsupportedImageError(f"{field} is a palette image; send the raw depth, not a picture of it")
    return to_metres(
        readings, depth_scale=depth_scale, depth_invalid=depth_invalid, field=field, trained_range=trained_range
    )


def decode_pixels(
    data: bytes, header: ImageHeader, field: str, *, may_hold_gil: bool = False, keep_alpha: bool = False
) -> NDArray[np.generic]:
    """Decode to pixels as stored, `H W` or `H W 3` in RGB order, of whatever type the file has.

    Args:
        data: the encoded image, whose header was checked.
        header: what `read_header` says of it.
        field: its name in the request, for messages.
        may_hold_gil: no other thread of this process has to run meanwhile.
        keep_alpha: `H W 4` where the file has alpha that is decoded: also of a palette, not of a TIFF in grey.

    Raises:
        UndecodableImageError: the pixels are damaged.
    """
    if header.format == "npy":
        return _read_npy(data, field)
    if header.format in ("pgm", "ppm"):
        return decode_netpbm(data)
    fast = _decode_fast(data, header, field, may_hold_gil) if header.format == "png" else None
    if fast is not None:
        return fast
    if header.format == "tiff":
        data = without_orientation(data)
    stored = _decode(data, cv2.IMREAD_UNCHANGED, header, field)
    if stored.ndim == 2:
        return stored
    if keep_alpha and stored.shape[2] == 4:
        return stored[..., [2, 1, 0, 3]]
    return stored[..., 2::-1]  # OpenCV has BGR and BGRA


def check_tiff_compression(header: ImageHeader, field: str) -> None:
    """Reject a TIFF that no decoder here reads.

    Raises:
        UnsupportedImageError: naming what it can be saved with.
    """
    if header.compression not in _TIFF_COMPRESSIONS:
        raise UnsupportedImageError(
            f"{field} is a TIFF compressed by method {header.compression}; save it with "
            f"{', '.join(_TIFF_COMPRESSIONS.values())}"
        )


def check_pixels(header: ImageHeader, max_pixels: int, field: str) -> None:
    """Reject an image of more pixels, before it is decoded.

    Raises:
        ImageTooLargeError: saying how many there are and may be.
    """
    if header.width * header.height > max_pixels:
        raise ImageTooLargeError(
            f"{field} is {header.width}x{header.height}, {header.width * header.height / 1e6:.1f} "
            "megapixels; "
            f"this server takes {max_pixels / 1e6:.1f}: send a smaller image"
        )


def _decode_fast(data: bytes, header: ImageHeader, field: str, may_hold_gil: bool) -> NDArray[np.generic] | None:
    """Decode with the fastest decoder of the format, to the values of OpenCV; None if there is none."""
    try:
        if header.format == "jpeg":
            image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
            if image.shape[:2] != (header.height, header.width):
                raise _undecodable(header, field)
            return image
        if header.format != "png":
            return None
        return decode_png_holding_gil(data) if may_hold_gil else decode_png(data)
    except (PngError, ValueError):
        raise _undecodable(header, field) from None


def _decode(data: bytes, flags: int, header: ImageHeader, field: str) -> NDArray[np.generic]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != (header.height, header.width):
        raise _undecodable(header, field)
    return image


def _undecodable(header: ImageHeader, field: str) -> UndecodableImageError:
    return UndecodableImageError(
        f"{field} starts like a {header.format.upper()} of {header.width}x{header.height} but does not decode; "
        "send an undamaged file"
    )


def _read_npy(data: bytes, field: str) -> NDArray[np.generic]:
    shape, fortran, dtype, offset = read_npy_layout(data, field)
    values = np.frombuffer(data, dtype, offset=offset).reshape(shape, order="F" if fortran else "C")
    return (values.reshape(shape[:2]) if shape[2:] == (1,) else values).astype(dtype.newbyteorder("="), copy=False)
