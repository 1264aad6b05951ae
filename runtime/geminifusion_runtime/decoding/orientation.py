"""Orientation tags: read to warn of, and kept from decoders, which would turn one modality and not the others.

The images of a request belong together pixel by pixel, as stored. A tag that says how to hold a picture (EXIF in JPEG,
PNG and WebP, tag 274 in TIFF) is therefore never applied, neither here nor in training.

Standard library only: clients import it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

ORIENTATION_NOTE = "has an orientation tag"
_ORIENTATION, _SHORT = 0x0112, 3
_UPRIGHT, _LAST = 1, 8
_MAX_ENTRIES = 512
_MAX_CHUNKS = 4096
TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*")
_PNG_CHUNK, _RIFF_CHUNK = struct.Struct(">I4s"), struct.Struct("<4sI")
_EXIF = b"Exif\0\0"  # before the TIFF structure in a JPEG, and sometimes in a WebP


def read_orientation(data: bytes) -> int:
    """Orientation that an image file asks for, 2…8; 1 (as stored) where it asks for none, or has none."""
    try:
        exif = _exif(data)
        if exif is None:
            return _UPRIGHT
        for position in _orientation_entries(exif):
            _, kind, _ = _entry(exif, position)
            (value,) = struct.unpack_from(_order(exif) + ("H" if kind == _SHORT else "I"), exif, position + 8)
            return value if _UPRIGHT < value <= _LAST else _UPRIGHT
    except (struct.error, IndexError):  # damaged metadata; whether the pixels are is for others to say
        pass
    return _UPRIGHT


def orientation_warnings(data: bytes, field: str) -> tuple[str, ...]:
    """A warning for a client whose image asks to be turned.

    Args:
        data: the encoded image.
        field: its name in the request.
    """
    orientation = read_orientation(data)
    if orientation == _UPRIGHT:
        return ()
    return (
        f"{field} {ORIENTATION_NOTE} ({orientation}), which is not applied: pixels are taken as stored, those of "
        "all modalities alike; if the picture is not upright without it, turn its pixels and all other images with it",
    )


def without_orientation(tiff: bytes) -> bytes:
    """A TIFF with its pixels and without its orientation, which OpenCV would apply whatever its flags say.

    Args:
        tiff: a classic TIFF; a damaged one comes back as it is.
    """
    try:
        positions = list(_orientation_entries(tiff))
    except struct.error:
        return tiff
    if not positions:
        return tiff
    copy = bytearray(tiff)
    for position in positions:
        struct.pack_into(_order(tiff) + "HHIHH", copy, position, _ORIENTATION, _SHORT, 1, _UPRIGHT, 0)
    return bytes(copy)


def _exif(data: bytes) -> bytes | None:
    """The TIFF structure that holds the tags of an image file, if there is one."""
    found = None
    if data[:4] in TIFF_SIGNATURES:
        return data
    if data.startswith(b"\xff\xd8\xff"):
        found = _jpeg_exif(data)
    elif data.startswith(b"\x89PNG"):
        found = _png_exif(data)
    elif data[8:12] == b"WEBP":
        found = _webp_exif(data)
    return None if found is None else found.removeprefix(_EXIF)


def _jpeg_exif(data: bytes) -> bytes | None:
    position = 2
    for _ in range(_MAX_CHUNKS):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:  # a fill byte
            position += 1
            continue
        content = data[position + 4 : position + 4 + len(_EXIF)]
        if marker == 0xFFE1 and content == _EXIF:
            return data[position + 4 : position + 2 + length]
        if marker == 0xFFDA or marker < 0xFF00:
            return None
        position += 2 + length
    return None


def _png_exif(data: bytes) -> bytes | None:
    position, unpack_from, size = 8, _PNG_CHUNK.unpack_from, len(data)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > size:
            return None
        length, kind = unpack_from(data, position)
        if kind == b"eXIf":
            return data[position + 8 : position + 8 + length]
        position += 12 + length  # and a checksum
    return None


def _webp_exif(data: bytes) -> bytes | None:
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return None
        kind, length = _RIFF_CHUNK.unpack_from(data, position)
        if kind == b"EXIF":
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return None


def _order(tiff: bytes) -> str:
    return "<" if tiff[:2] == b"II" else ">"


def _entry(tiff: bytes, position: int) -> tuple[int, int, int]:
    """Tag, type and count of the directory entry at a position."""
    tag, kind, count = struct.unpack_from(_order(tiff) + "HHI", tiff, position)
    return tag, kind, count


def _orientation_entries(tiff: bytes) -> Iterator[int]:
    """Positions of the entries of the first directory that give the orientation."""
    order = _order(tiff)
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for position in range(start + 2, start + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        if _entry(tiff, position)[0] == _ORIENTATION:
            yield position
