"""The directory of a TIFF, read within bounds: a count in it is checked before anything is made of it.

A file of two megabytes can announce gigabytes of tags that lie in the same bytes, and libtiff would keep them all.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, BITS, COMPRESSION, CHANNELS, ROWS_PER_STRIP, PLANES, SAMPLE_FORMAT = (
    256, 257, 258, 259, 277, 278, 284, 339,
)  # fmt: skip
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_NUMBERS = (
    WIDTH,
    HEIGHT,
    BITS,
    COMPRESSION,
    CHANNELS,
    ROWS_PER_STRIP,
    PLANES,
    SAMPLE_FORMAT,
    _TILE_WIDTH,
    _TILE_HEIGHT,
)
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_LISTS = (_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES)
_PER_CHANNEL = (BITS, SAMPLE_FORMAT)  # a value for each channel, all the same in what is served

_SHORT, _LONG = 3, 4
_TYPE_BYTES = {1: 1, 2: 1, _SHORT: 2, _LONG: 4, 6: 1, 7: 1, 8: 2, 9: 4, 11: 4, 13: 4}  # the others have 8
_MAX_TAGS = 1024
_MAX_CHANNELS = 16
_TILE_PIXELS = 2**20  # any image may have tiles up to 1024x1024; larger ones only with the image


class TiffDirectoryError(ValueError):
    """The directory is damaged, or announces what the file cannot hold; the message ends a sentence about the file."""


@dataclass(frozen=True, kw_only=True)
class TiffDirectory:
    """What the first directory of a TIFF says.

    Attributes:
        numbers: by tag, of those that describe the pixels.
        next_page: offset of another directory; 0 for none.
    """

    numbers: Mapping[int, int]
    next_page: int


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    at: int  # offset of its values


def read_directory(data: bytes) -> TiffDirectory:
    """Read the first directory and check that the file holds what it announces.

    Args:
        data: a whole classic TIFF.

    Raises:
        TiffDirectoryError: see there.
        struct.error: the file ends within the directory.
    """
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    if count > _MAX_TAGS:
        raise TiffDirectoryError(f"has {count} tags; send one with at most {_MAX_TAGS}")
    (next_page,) = struct.unpack_from(order + "I", data, start + 2 + 12 * count)
    entries = _entries(data, order, start + 2, count)
    numbers = {tag: _number(data, order, tag, entries[tag]) for tag in _NUMBERS if tag in entries}
    if WIDTH not in numbers or HEIGHT not in numbers:
        raise TiffDirectoryError("says no width or height; send the whole file")
    _check_tiles(numbers)
    _check_pieces(data, order, entries, numbers)
    return TiffDirectory(numbers=numbers, next_page=next_page)


def _entries(data: bytes, order: str, start: int, count: int) -> dict[int, _Entry]:
    found: dict[int, _Entry] = {}
    left = len(data)
    for position in range(start, start + 12 * count, 12):
        tag, kind, length, value = struct.unpack_from(order + "HHII", data, position)
        num_bytes = _TYPE_BYTES.get(kind, 8) * length
        left -= num_bytes
        if left < 0:  # tags of their own bytes fit into the file together; only shared ones announce more
            raise TiffDirectoryError("announces more values than the file holds; send an undamaged one")
        if tag not in _NUMBERS and tag not in _LISTS:
            continue
        if tag in found:
            raise TiffDirectoryError(f"has tag {tag} twice; send an undamaged one")
        if kind not in (_SHORT, _LONG):
            raise TiffDirectoryError(f"stores tag {tag} as type {kind}, expected {_SHORT} or {_LONG}")
        found[tag] = _Entry(kind, length, position + 8 if num_bytes <= 4 else value)
    return found


def _number(data: bytes, order: str, tag: int, entry: _Entry) -> int:
    most = _MAX_CHANNELS if tag in _PER_CHANNEL else 1
    if not 1 <= entry.count <= most:
        raise TiffDirectoryError(f"has {entry.count} values in tag {tag}, expected {most}")
    values = {int(value) for value in _values(data, order, entry)}
    if len(values) > 1:
        raise TiffDirectoryError("has channels of different types; send one with channels of one type")
    return values.pop()


def _values(data: bytes, order: str, entry: _Entry) -> NDArray[np.int64]:
    stored = np.dtype(order + ("u2" if entry.kind == _SHORT else "u4"))
    if entry.at + entry.count * stored.itemsize > len(data):
        raise TiffDirectoryError("is cut short or damaged; send the whole file")
    return np.frombuffer(data, stored, count=entry.count, offset=entry.at).astype(np.int64)


def _check_tiles(numbers: Mapping[int, int]) -> None:
    """Reject tiles far larger than the image: a decoder allocates a tile, whatever the image needs."""
    if (_TILE_WIDTH in numbers) != (_TILE_HEIGHT in numbers):
        raise TiffDirectoryError("says only one side of its tiles; send an undamaged one")
    width, height = numbers.get(_TILE_WIDTH, 1), numbers.get(_TILE_HEIGHT, 1)
    if not 0 < width * height <= max(_TILE_PIXELS, 4 * numbers[WIDTH] * numbers[HEIGHT]):
        raise TiffDirectoryError(
            f"has tiles of {width}x{height} pixels for an image of {numbers[WIDTH]}x{numbers[HEIGHT]}; "
            "save it with smaller tiles or in strips"
        )


def _check_pieces(data: bytes, order: str, entries: Mapping[int, _Entry], numbers: Mapping[int, int]) -> None:
    """Check that every strip or tile lies inside the file, and that there are no more of them than rows."""
    offsets = entries.get(_STRIP_OFFSETS) or entries.get(_TILE_OFFSETS)
    lengths = entries.get(_STRIP_BYTES) or entries.get(_TILE_BYTES)
    if offsets is None or lengths is None or not 0 < offsets.count == lengths.count:
        raise TiffDirectoryError("does not say where its pixels are; send the whole file")
    channels = numbers.get(CHANNELS, 1)
    rows, columns = numbers[HEIGHT], 1
    if _TILE_WIDTH in numbers:
        rows = -(-numbers[HEIGHT] // numbers[_TILE_HEIGHT])
        columns = -(-numbers[WIDTH] // numbers[_TILE_WIDTH])
    if offsets.count > rows * columns * channels:
        raise TiffDirectoryError(f"has {offsets.count} pieces, more than its size needs; send an undamaged one")
    if (_values(data, order, offsets) + _values(data, order, lengths) > len(data)).any():
        raise TiffDirectoryError("is cut short or damaged; send the whole file")
