"""Fast PNG decoding: by kornia-rs where the GIL may be held, else inflated by ISA-L and unfiltered by OpenCV.

The first takes about half the time of the second, and the second two thirds of OpenCV's own. Most of the time of
decoding a PNG goes into inflating, for which ISA-L needs half the time of zlib; but it is no PNG decoder. So its rows
are put into a PNG again, uncompressed, and OpenCV undoes the row filters of that one with vector instructions.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import cv2
import kornia_rs
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from geminifusion_runtime.png_encoder import SIGNATURE, chunk

_GREY, _RGB = 0, 2
_KINDS = ((_GREY, 8), (_GREY, 16), (_RGB, 8))
_LARGEST_STORED = 65535  # bytes of a stored block, RFC 1951 section 3.2.4
_STORED_HEADER = b"\x78\x01"  # zlib's, for a window of 32 KiB and no compression, RFC 1950


class PngError(ValueError):
    """The pixel data is damaged, or its size differs from what the header says."""


class _Layout(NamedTuple):
    header: bytes  # the content of IHDR
    width: int
    height: int
    bits: int
    color_type: int
    interlaced: bool


def decode_png(data: bytes) -> NDArray[np.generic] | None:
    """Decode a grey PNG, or an RGB one of 8 bits, without interlacing; None for any other, which is left to OpenCV.

    Releases the GIL.

    Args:
        data: a whole file whose chunks were checked, as `read_header` does.

    Returns:
        `H W` or `H W 3`, uint8 or uint16.

    Raises:
        PngError: the data inside the chunks is damaged. No more memory is taken than the header's size needs.
    """
    layout = _layout(data)
    if (layout.color_type, layout.bits) not in _KINDS or layout.interlaced:
        return None
    row_bytes = layout.width * (3 if layout.color_type == _RGB else 1) * layout.bits // 8
    rows = _inflate(_pixel_data(data), layout.height * (1 + row_bytes))
    flags = cv2.IMREAD_COLOR_RGB if layout.color_type == _RGB else cv2.IMREAD_UNCHANGED
    try:
        image = cv2.imdecode(np.frombuffer(_stored(layout.header, rows), np.uint8), flags)
    except cv2.error as error:
        raise PngError(str(error)) from None
    if image is None:
        raise PngError("a row has a filter that does not exist")
    return image.astype(np.uint8 if layout.bits == 8 else np.uint16, copy=False)


def decode_png_holding_gil(data: bytes) -> NDArray[np.generic] | None:
    """As `decode_png` in about half the time, while every other Python thread of this process waits."""
    layout = _layout(data)
    if (layout.color_type, layout.bits) not in _KINDS or layout.interlaced:
        return None
    decode = kornia_rs.io.decode_image_png_u8 if layout.bits == 8 else kornia_rs.io.decode_image_png_u16
    try:
        image = decode(data, (layout.height, layout.width), "rgb" if layout.color_type == _RGB else "mono")
    except Exception as error:  # the library has no exception type of its own
        raise PngError(str(error)) from None
    array: NDArray[np.generic] = np.asarray(image)
    return array if layout.color_type == _RGB else array[..., 0]


def _layout(data: bytes) -> _Layout:
    header = data[16:29]
    width, height, bits, color_type, _, _, interlace = struct.unpack(">IIBBBBB", header)
    return _Layout(header, width, height, bits, color_type, interlace != 0)


def _pixel_data(data: bytes) -> bytes | memoryview:
    view, position, found = memoryview(data), len(SIGNATURE), []
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            found.append(view[position + 8 : position + 8 + length])
        if kind == b"IEND":
            return found[0] if len(found) == 1 else b"".join(found)
        position += 12 + length


def _inflate(packed: bytes | memoryview, expected: int) -> bytes:
    inflater = isal_zlib.decompressobj()
    try:
        rows: bytes = inflater.decompress(packed, max_length=expected)
        # the end of the stream may lie behind its last byte of data
        surplus = b"" if inflater.eof else inflater.decompress(inflater.unconsumed_tail, max_length=1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub does not say that it is an exception
        raise PngError(str(error)) from None
    if len(rows) != expected or surplus or not inflater.eof:
        raise PngError(f"{len(rows)} bytes of rows instead of {expected}")
    return rows


def _stored(header: bytes, rows: bytes) -> bytes:
    view = memoryview(rows)
    blocks: list[bytes | memoryview] = [_STORED_HEADER]
    for start in range(0, len(rows), _LARGEST_STORED):
        block = view[start : start + _LARGEST_STORED]
        last = start + _LARGEST_STORED >= len(rows)
        blocks += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    blocks.append(struct.pack(">I", isal_zlib.adler32(rows)))
    return b"".join([SIGNATURE, chunk(b"IHDR", header), chunk(b"IDAT", b"".join(blocks)), chunk(b"IEND")])
