"""The EXIF orientation of a JPEG, which training and serving leave unapplied: labels and other modalities lack it."""

from __future__ import annotations

import struct
from pathlib import Path

_ORIENTATION = 0x0112
_MOST_BYTES = 2**17  # the tag's segment comes first and holds at most 64 KiB
_MOST_ENTRIES = 256


def exif_orientation(path: Path) -> int:
    """1 to 8, where 1 is upright; 1 for files without the tag, and for those that cannot be read."""
    try:
        with path.open("rb") as stream:
            return _orientation(stream.read(_MOST_BYTES))
    except (OSError, struct.error, IndexError):
        return 1


def _orientation(data: bytes) -> int:
    position = 2
    while data[:2] == b"\xff\xd8" and data[position] == 0xFF and data[position + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, position + 2)
        segment = data[position + 4 : position + 2 + length]
        if data[position + 1] == 0xE1 and segment.startswith(b"Exif\x00\x00"):
            return _from_tiff(segment[6:])
        position += 2 + length
    return 1


def _from_tiff(tiff: bytes) -> int:
    order = "<" if tiff.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for index in range(min(entries, _MOST_ENTRIES)):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * index)
        if tag == _ORIENTATION:
            return int(value) if 1 <= value <= 8 else 1
    return 1
