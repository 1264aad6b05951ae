"""Stored numbers of PNGs whose decoders would return something else: palettes become colors, few bits are stretched."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import UndecodableImageError
from geminifusion_runtime.png_encoder import SIGNATURE, chunk

_GREY, _PALETTE = 0, 3


def decode_indices(data: bytes) -> NDArray[np.uint8] | None:
    """The palette indices, or the gray numbers of less than 8 bits, of a PNG; None if it has neither.

    An index is stored like a gray value, so the same rows under a header that says so are what OpenCV reads.

    Args:
        data: a whole file whose chunks were checked, as `read_header` does.

    Returns:
        `H W` uint8.

    Raises:
        UndecodableImageError: the pixels are damaged.
    """
    header = bytearray(data[16:29])
    bits, color_type = header[8], header[9]
    if color_type != _PALETTE and not (color_type == _GREY and bits < 8):
        return None
    header[9] = _GREY
    gray = b"".join([SIGNATURE, chunk(b"IHDR", bytes(header)), *_pixel_chunks(data), chunk(b"IEND", b"")])
    image = cv2.imdecode(np.frombuffer(gray, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != np.uint8:
        raise UndecodableImageError("its pixels are damaged; send an undamaged file")
    # gray of few bits is stretched over 0…255
    return (image // (255 // (2**bits - 1))).astype(np.uint8, copy=False)


def _pixel_chunks(data: bytes) -> list[bytes]:
    position, found = len(SIGNATURE), []
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind == b"IDAT":
            found.append(data[position:end])
        if kind == b"IEND":
            break
        position = end
    return found
