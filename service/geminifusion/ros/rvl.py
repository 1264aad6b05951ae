"""RVL, the lossless code of depth images that `compressed_depth_image_transport` offers beside PNG.

Wilson, Fast Lossless Depth Image Compression, ISS 2017: runs of zeros and of measured pixels take turns; a measured
pixel is the difference to the one before it. Every number is nibbles of three bits and a bit that says "more follow",
the first nibble in the highest bits of each 32-bit word.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

_SIZE = struct.Struct("<ii")  # width and height, before the words
_MOST_PIXELS = 2**26


def decode_rvl(data: bytes) -> NDArray[np.uint16]:
    """The depth image, `H W` uint16.

    Raises:
        InvalidInputError: the size makes no sense, or the data end before the image does.
    """
    width, height = _SIZE.unpack_from(data) if len(data) >= _SIZE.size else (0, 0)
    if width <= 0 or height <= 0 or width * height > _MOST_PIXELS:
        raise InvalidInputError(f"RVL depth of {width}x{height} pixels; the recording is damaged there")
    numbers = _numbers(data[_SIZE.size :])
    pixels = np.zeros(width * height, np.uint16)
    done = position = 0
    last = np.int64(0)
    while done < pixels.size:
        if position + 2 > numbers.size:
            raise _truncated(done, pixels.size)
        zeros, measured = (int(number) for number in numbers[position : position + 2])
        codes = numbers[position + 2 : position + 2 + measured]
        position, done = position + 2 + measured, done + zeros
        if codes.size < measured or done + measured > pixels.size:
            raise _truncated(done, pixels.size)
        if measured:
            values = last + np.cumsum((codes >> 1) ^ -(codes & 1))
            pixels[done : done + measured] = values.astype(np.uint16)
            last = values[-1]
        elif not zeros:
            raise _truncated(done, pixels.size)
        done += measured
    return pixels.reshape(height, width)


def _numbers(data: bytes) -> NDArray[np.int64]:
    """All numbers of the code; zeros of padding may follow them."""
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
    nibbles = (words[:, None] >> np.arange(28, -4, -4, dtype=np.uint32)).ravel() & 0xF
    ends = np.flatnonzero(nibbles < 8)
    if not ends.size:
        return np.zeros(0, np.int64)
    nibbles = nibbles[: ends[-1] + 1].astype(np.int64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    place = np.arange(nibbles.size) - np.repeat(starts, ends - starts + 1)
    return np.add.reduceat((nibbles & 7) << np.minimum(3 * place, 60), starts)


def _truncated(done: int, pixels: int) -> InvalidInputError:
    return InvalidInputError(f"RVL depth ends after {done} of {pixels} pixels; the recording is damaged there")
