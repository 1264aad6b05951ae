"""TensorBoard event files, written in the calling thread.

A file is a sequence of records, each `length, crc(length), bytes, crc(bytes)`, and the bytes are a protocol buffer
`tensorflow.Event`; the few fields that scalars and images need are encoded here. The usual writers do this in a
background thread. When the disk is full that thread ends and the next call waits for it forever, whereas a training
run has to stop with a message.
"""

from __future__ import annotations

import struct
import time
from io import RawIOBase
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_SESSION_START = 1
_COLORS_RGB = 3


class TensorBoardWriter:
    """A new event file in a directory that may hold files of earlier sessions of the same run.

    Args:
        directory: for `tensorboard --logdir`; made if need be.
        first_step: readers drop what earlier files hold of this step and later ones.

    Raises:
        OSError: here and in every method: the file cannot be written.
    """

    def __init__(self, directory: Path, *, first_step: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # readers take the files of a directory in the order of their names
        earlier = (path.suffix[1:] for path in directory.glob("events.out.tfevents.*"))
        number = 1 + max((int(part) for part in earlier if part.isdecimal()), default=0)
        self._stream = (directory / f"events.out.tfevents.{number:06d}").open("xb", buffering=0)
        self._event(_text(3, "brain.Event:2"), step=0)
        self._event(_message(7, _integer(1, _SESSION_START)), step=first_step)

    def scalar(self, step: int, name: str, value: float) -> None:
        """Add one point to the curve `name`; the file keeps 32 bits of `value`."""
        with np.errstate(over="ignore"):  # beyond 32 bits it becomes infinite
            number = np.float64(value).astype("<f4")
        self._value(step, name, _key(2, 5) + number.tobytes())

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Add an image, `H W 3` uint8 RGB, as PNG."""
        height, width, _ = image.shape
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        encoded = _integer(1, height) + _integer(2, width) + _integer(3, _COLORS_RGB) + _bytes(4, png.tobytes())
        self._value(step, name, _message(4, encoded))

    def close(self) -> None:
        """Close the file; nothing is left to be written."""
        self._stream.close()

    def _value(self, step: int, name: str, content: bytes) -> None:
        self._event(_message(5, _message(1, _text(1, name) + content)), step)

    def _event(self, content: bytes, step: int) -> None:
        event = _key(1, 1) + struct.pack("<d", time.time()) + _integer(2, step) + content
        length = struct.pack("<Q", len(event))
        write_all(self._stream, length + _masked_crc(length) + event + _masked_crc(event))


def write_all(stream: RawIOBase, data: bytes) -> None:
    """Hand all of `data` to the operating system; on a nearly full disk one call may write a part without an error.

    Raises:
        OSError: not everything could be written; the stream then ends with a part of `data`.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def crc32c(data: bytes) -> int:
    """The 32-bit cyclic redundancy check with Castagnoli's polynomial (RFC 3720, section 12.1)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_OF_BYTE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_OF_BYTE = tuple(_crc_of_byte(byte) for byte in range(256))


def _masked_crc(data: bytes) -> bytes:
    """The CRC as the format stores it: rotated and shifted, so that a CRC over data with CRCs in it stays sound."""
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    assert value >= 0
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _integer(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


_message = _bytes


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
