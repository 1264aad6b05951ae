"""How many pixels a request will have once it is decoded, read off the headers of its images."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.decoding.image_headers import read_header, sniff
from geminifusion_runtime.errors import GeminiFusionError

_PNG_SIZE = struct.Struct(">II")
_PNG_SIZE_AT = 16  # in every file: its first chunk is the header
_LARGE = 1024 * 1024  # bytes of images, beyond which reading their headers would keep the event loop from others


async def count_pixels(images: Mapping[str, bytes | NDArray[np.generic]], *, max_pixels: int | None) -> int:
    """Pixels of all images together.

    Args:
        max_pixels: images with more do not count, nor do damaged ones: the decoder rejects both by their headers.
    """
    size = sum(len(image) for image in images.values() if isinstance(image, bytes))
    if size > _LARGE:
        return await asyncio.to_thread(_count, images, max_pixels)
    return _count(images, max_pixels)


def _count(images: Mapping[str, bytes | NDArray[np.generic]], max_pixels: int | None) -> int:
    counts = (_pixels_of(image) for image in images.values())
    return sum(count for count in counts if max_pixels is None or count <= max_pixels)


def _pixels_of(image: bytes | NDArray[np.generic]) -> int:
    if isinstance(image, np.ndarray):
        return int(image.shape[0] * image.shape[1]) if image.ndim > 1 else 0
    try:
        if sniff(image) == "png" and len(image) >= _PNG_SIZE_AT + _PNG_SIZE.size:
            width, height = _PNG_SIZE.unpack_from(image, _PNG_SIZE_AT)
        else:
            header = read_header(image, "image")
            width, height = header.width, header.height
    except GeminiFusionError:
        return 0
    return int(width * height)
