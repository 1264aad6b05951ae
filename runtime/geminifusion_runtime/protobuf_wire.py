"""The fields of a protobuf message as they lie in its bytes, one after the other, without making objects of them.

For messages that others wrote: parsing one makes an object of every two bytes, and a walk with a budget tells first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are no protobuf message."""


class WireField(NamedTuple):
    """One field: its number, wire type, and content; that of a number is its bytes."""

    number: int
    kind: int
    content: memoryview


def wire_fields(message: memoryview) -> Iterator[WireField]:
    """The fields of a message; groups, which nobody uses any more, end the walk with an error.

    Raises:
        WireError: a field reaches beyond the end, or has no known type.
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        start = position
        if kind == VARINT:
            _, position = _varint(message, position)
        elif kind in _FIXED_BYTES:
            position += _FIXED_BYTES[kind]
        elif kind == BYTES:
            length, start = _varint(message, position)
            position = start + length
        else:
            raise WireError(f"field {number} has wire type {kind}")
        if position > end:
            raise WireError(f"field {number} reaches beyond the end")
        yield WireField(number, kind, message[start:position])


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        try:
            byte = message[position + index]
        except IndexError:
            raise WireError("a number reaches beyond the end") from None
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise WireError("a number is too long")
