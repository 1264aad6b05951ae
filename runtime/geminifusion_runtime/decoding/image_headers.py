"""Format, size and completeness of an image, before any decoder sees it.

A decoder allocates what the header promises and may return a half-grey image for a truncated file without an error;
both are decided here instead.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

from isal import isal_zlib

from geminifusion_runtime.decoding import tiff_directory
from geminifusion_runtime.decoding.jpeg_scans import MAX_SCANS, TooManyScansError, reaches_end
from geminifusion_runtime.decoding.netpbm import NetpbmError, read_layout
from geminifusion_runtime.decoding.npy_layout import NPY_SIGNATURE, read_npy_layout
from geminifusion_runtime.decoding.unknown_files import unknown_file_error
from geminifusion_runtime.errors import GeminiFusionError, UndecodableImageError, UnsupportedImageError

ImageFormat = Literal["png", "jpeg", "webp", "tiff", "npy", "pgm", "ppm"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK, _PNG_CHECKSUM = struct.Struct(">I4s"), struct.Struct(">I")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_JPEG_LS = 0xF7  # the marker of its frame, where other JPEGs have 0xC0…
_MAX_SEGMENTS = 4096  # far beyond any camera's file; bounds the work for a hostile one
_BYTES_PER_PNG_CHUNK = 1024  # encoders write 8 KiB and more into each
_JPEG_MARKER_START = re.compile(rb"\xff+")  # any number of fill bytes may come before a marker
_TIFF_FLOAT = 3  # of its tag SampleFormat


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """Size in pixels and pixel format as stored, before any conversion."""

    format: ImageFormat
    width: int
    height: int
    channels: int
    bits: int  # per channel as stored; a palette image has its index width
    is_float: bool = False
    compression: int = 1  # of TIFF, its tag 259; 1 is none


def sniff(data: bytes) -> ImageFormat | None:
    """Format of an image by its first bytes: file names and content types are often wrong."""
    if data.startswith(_PNG_SIGNATURE):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "tiff"
    if data.startswith(NPY_SIGNATURE):
        return "npy"
    if data[:2] in (b"P5", b"P6"):
        return "pgm" if data[1:2] == b"5" else "ppm"
    return None


def read_header(data: bytes, field: str) -> ImageHeader:
    """Read the header and check that the file is complete.

    Args:
        data: the encoded image.
        field: its name in the request, for the message.

    Raises:
        UndecodableImageError: no known format, truncated or damaged.
        UnsupportedImageError: an ambiguous variant.
    """
    kind = sniff(data)
    if kind is None:
        raise unknown_file_error(data, field)
    try:
        header = _READERS[kind](data, field)
    except (struct.error, IndexError, NetpbmError):
        raise UndecodableImageError(_cut_short(field, kind)) from None
    if header.width < 1 or header.height < 1:
        raise UndecodableImageError(
            f"{field} says it is {header.width}x{header.height} pixels; send an image with at least one pixel"
        )
    return header


def declared_pixels(data: bytes) -> int:
    """Pixels that the header of an image promises; 0 where it cannot be read, as no decoder will take it then.

    For budgets: it looks at the first bytes alone, where `read_header` goes through the whole file.
    """
    kind = sniff(data)
    try:
        if kind is None:
            return 0
        if kind == "png":
            width, height = struct.unpack_from(">II", data, 16)
            return int(width * height)
        header = _jpeg_frame(data, "image")[0] if kind == "jpeg" else _READERS[kind](data, "image")
    except (struct.error, IndexError, GeminiFusionError, NetpbmError):
        return 0
    return 0 if header is None else header.width * header.height


def _cut_short(field: str, kind: str) -> str:
    return f"{field} is a {kind.upper()} that is cut short or damaged; send the whole file"


def _read_png(data: bytes, field: str) -> ImageHeader:
    width, height, bits, color_type = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR" or color_type not in _PNG_CHANNELS:
        raise UndecodableImageError(_cut_short(field, "png"))
    position, has_pixels = len(_PNG_SIGNATURE), False
    view = memoryview(data)
    head, checksum = _PNG_CHUNK.unpack_from, _PNG_CHECKSUM.unpack_from  # for a hundred chunks
    for _ in range(_MAX_SEGMENTS + len(data) // _BYTES_PER_PNG_CHUNK):
        length, kind = head(data, position)
        end = position + 8 + length
        (crc,) = checksum(data, end)
        if isal_zlib.crc32(view[position + 4 : end]) != crc:
            raise UndecodableImageError(_cut_short(field, "png"))
        if kind == b"acTL":
            raise UnsupportedImageError(f"{field} is an animated PNG; send one still image")
        if kind == b"IEND":
            break
        has_pixels |= kind == b"IDAT"
        position = end + 4
    else:
        raise UndecodableImageError(f"{field} is a PNG of far more chunks than its size needs; save it again")
    if not has_pixels:
        raise UndecodableImageError(_cut_short(field, "png"))
    return ImageHeader(format="png", width=width, height=height, channels=_PNG_CHANNELS[color_type], bits=bits)


def _read_jpeg(data: bytes, field: str) -> ImageHeader:
    header, position = _jpeg_frame(data, field)
    try:
        is_whole = header is not None and reaches_end(data, position)
    except TooManyScansError:
        raise UndecodableImageError(
            f"{field} is a JPEG of more than {MAX_SCANS} scans, which would take minutes to decode; "
            "save it as baseline or as progressive with the usual scans"
        ) from None
    if header is None or not is_whole:
        raise UndecodableImageError(_cut_short(field, "jpeg"))
    return header


def _jpeg_frame(data: bytes, field: str) -> tuple[ImageHeader | None, int]:
    """What the frame header says, None without one, and the position of the first scan's marker."""
    position, header = 2, None
    for _ in range(_MAX_SEGMENTS):
        start = _JPEG_MARKER_START.match(data, position)
        if start is None:
            raise UndecodableImageError(_cut_short(field, "jpeg"))
        position = start.end() - 1
        marker = data[position + 1]
        if marker == 0xDA:
            break
        if marker == _JPEG_LS:
            raise UnsupportedImageError(f"{field} is a JPEG-LS; send a baseline or progressive JPEG, or a PNG")
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker <= 0x01 or 0xD0 <= marker <= 0xD9:  # without content: a decoder would not skip what we take for it
            raise UndecodableImageError(_cut_short(field, "jpeg"))
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker > 0xC2:
                raise UnsupportedImageError(
                    f"{field} is a lossless or arithmetic-coded JPEG; send a baseline or progressive one"
                )
            bits, height, width, channels = struct.unpack_from(">BHHB", data, position + 4)
            header = ImageHeader(format="jpeg", width=width, height=height, channels=channels, bits=bits)
        position += 2 + length
    return header, position


def _read_webp(data: bytes, field: str) -> ImageHeader:
    (riff_length,) = struct.unpack_from("<I", data, 4)
    if riff_length + 8 > len(data):
        raise UndecodableImageError(_cut_short(field, "webp"))
    chunk = data[12:16]
    if chunk == b"VP8X":
        if data[20] & 0b10:
            raise UnsupportedImageError(f"{field} is an animated WebP; send one still image")
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
    elif chunk == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    elif chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise UndecodableImageError(_cut_short(field, "webp"))
    return ImageHeader(format="webp", width=width, height=height, channels=3, bits=8)


def _read_tiff(data: bytes, field: str) -> ImageHeader:
    (magic,) = struct.unpack_from("<H" if data[:2] == b"II" else ">H", data, 2)
    if magic != 42:
        raise UnsupportedImageError(f"{field} is a BigTIFF; send an ordinary TIFF, a 16-bit PNG or npy")
    try:
        directory = tiff_directory.read_directory(data)
    except tiff_directory.TiffDirectoryError as error:
        raise UndecodableImageError(f"{field} is a TIFF that {error}") from None
    if directory.next_page:
        raise UnsupportedImageError(f"{field} is a TIFF of several pages; send one image")
    numbers = directory.numbers
    return ImageHeader(
        format="tiff",
        width=numbers[tiff_directory.WIDTH],
        height=numbers[tiff_directory.HEIGHT],
        channels=numbers.get(tiff_directory.CHANNELS, 1),
        bits=numbers.get(tiff_directory.BITS, 1),
        is_float=numbers.get(tiff_directory.SAMPLE_FORMAT, 1) == _TIFF_FLOAT,
        compression=numbers.get(tiff_directory.COMPRESSION, 1),
    )


def _read_npy(data: bytes, field: str) -> ImageHeader:
    shape, _, dtype, _ = read_npy_layout(data, field)
    if len(shape) not in (2, 3) or (shape[2:] not in ((1,), (2,), (3,), (4,)) and len(shape) == 3):
        raise UnsupportedImageError(
            f"{field} is an npy of shape {shape}; send height x width, or height x width x channels"
        )
    return ImageHeader(
        format="npy",
        width=shape[1],
        height=shape[0],
        channels=shape[2] if len(shape) == 3 else 1,
        bits=8 * dtype.itemsize,
        is_float=dtype.kind == "f",
    )


def _read_netpbm(data: bytes, field: str) -> ImageHeader:
    layout = read_layout(data)
    kind: ImageFormat = "pgm" if layout.channels == 1 else "ppm"
    if layout.bits == 8 and layout.top != 255:  # scaled to 255 by some decoders and left alone by others
        raise UnsupportedImageError(
            f"{field} is a {kind.upper()} whose largest value is {layout.top}; save it with 255, or with 16 bits"
        )
    return ImageHeader(
        format=kind, width=layout.width, height=layout.height, channels=layout.channels, bits=layout.bits
    )


_READERS = {
    "png": _read_png,
    "jpeg": _read_jpeg,
    "webp": _read_webp,
    "tiff": _read_tiff,
    "npy": _read_npy,
    "pgm": _read_netpbm,
    "ppm": _read_netpbm,
}
