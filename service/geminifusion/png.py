"""Lossless PNG from arrays, written here so that a client needs no imaging library to send or save one."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE = 0, 2, 3
_NO_FILTER, _LEFT_FILTER = 0, 1


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Encode one picture.

    Args:
        pixels: `H W` uint8 (grey, or indices into `palette`), `H W` uint16 (grey), or `H W 3` uint8 (RGB).
        palette: `K 3` uint8 RGB, K at most 256 and above every index used.

    Raises:
        ValueError: the array is of another shape or type, is empty, or has an index outside the palette.
    """
    rgb = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    grey = pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
    if not (rgb or grey) or pixels.size == 0:
        raise ValueError(
            f"cannot write a {pixels.dtype} array of shape {pixels.shape} as PNG; "
            "give HxW uint8 or uint16, or HxWx3 uint8"
        )
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">"), copy=False))
    rows = rows.view(np.uint8).reshape(height, -1)
    chunks = []
    if palette is not None:
        if rgb or pixels.dtype != np.uint8 or int(pixels.max()) >= len(palette):
            raise ValueError(f"a palette of {len(palette)} colours needs HxW uint8 indices below that")
        colour_type, depth, filtering = _PALETTE, 8, _NO_FILTER
        chunks.append(_chunk(b"PLTE", np.ascontiguousarray(palette, np.uint8).tobytes()))
    else:
        colour_type, depth = (_RGB if rgb else _GREY), 8 * pixels.dtype.itemsize
        # Photographs and depth shrink by a third when each pixel is stored as its difference to the left one.
        pixel_bytes = rows.shape[1] // width
        filtering = _LEFT_FILTER
        rows = np.concatenate([rows[:, :pixel_bytes], rows[:, pixel_bytes:] - rows[:, :-pixel_bytes]], axis=1)
    lines = np.empty((height, rows.shape[1] + 1), np.uint8)
    lines[:, 0] = filtering
    lines[:, 1:] = rows
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", header),
            *chunks,
            _chunk(b"IDAT", zlib.compress(lines.data, 1)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, payload: bytes) -> bytes:
    checksum = zlib.crc32(payload, zlib.crc32(kind))
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", checksum)
