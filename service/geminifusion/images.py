"""Images as users have them (path, bytes, array) to the bytes of a request field, and back to pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.png_encoder import encode_png

from .errors import InvalidInputError, requires_extra

ImageInput = str | Path | bytes | NDArray[Any]


def rgb_bytes(rgb: ImageInput) -> bytes:
    """The encoded color image: a file's content, the bytes as they are, or `H W 3` uint8 as lossless PNG.

    Raises:
        InvalidInputError: the file cannot be read, or the array is of another shape or type.
    """
    if isinstance(rgb, np.ndarray):
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
            raise InvalidInputError(f"rgb is a {rgb.dtype} array of shape {rgb.shape}; give HxWx3 uint8 in RGB order")
        return encode_png(rgb)
    return file_bytes(rgb, "rgb")


def depth_bytes(depth: ImageInput) -> bytes:
    """The encoded depth: a file's content, bytes as they are, `H W` uint16 as PNG, `H W` float metres as npy.

    Raises:
        InvalidInputError: the file cannot be read, or the array is of another shape or type.
    """
    if isinstance(depth, np.ndarray):
        if depth.ndim == 2 and depth.size and depth.dtype == np.uint16:
            return encode_png(depth)
        if depth.ndim == 2 and depth.size and np.issubdtype(depth.dtype, np.floating):
            buffer = io.BytesIO()
            np.save(buffer, depth.astype("<f4"), allow_pickle=False)
            return buffer.getvalue()
        raise InvalidInputError(
            f"depth is a {depth.dtype} array of shape {depth.shape}; give HxW floats in metres, "
            "or HxW uint16 with depth_scale (metres per unit, 0.001 for millimetres)"
        )
    return file_bytes(depth, "depth")


def file_bytes(source: str | Path | bytes, name: str) -> bytes:
    """The content of a file, or bytes as they are."""
    if isinstance(source, bytes):
        return source
    if not isinstance(source, str | Path):
        raise InvalidInputError(f"{name} is a {type(source).__name__}; give a path, bytes or a numpy array")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{name} file {str(source)!r} cannot be read ({error.strerror or error}); check the path"
        ) from None


def decode_rgb(encoded: bytes) -> NDArray[np.uint8]:
    """Pixels of an encoded image as the service sees them, `H W 3` uint8 RGB; an EXIF rotation is ignored.

    Raises:
        InvalidInputError: the bytes are no image.
        MissingExtraError: OpenCV is not installed.
    """
    with requires_extra("decoding an image", "client"):
        import cv2
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise InvalidInputError("the image cannot be decoded; give a PNG, JPEG or WebP file")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
