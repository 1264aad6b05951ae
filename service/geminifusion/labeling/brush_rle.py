"""Label Studio's run lengths of a brush mask: the bytes of an RGBA picture in rle-pack's format.

A head of 53 bits: the number of values (32), bits of a value less one (5), and the bits of four sizes of a run, each
less one (4 times 4). Then the runs: a bit that says that one value is repeated, the number of the size that is used
(2), the length less one in so many bits, and the value (8). Zeros fill the last byte; where there is nothing to fill,
Label Studio's own encoder adds a byte of zeros, and so does this one.

Every pixel has four equal values, so that every run has at least four, and single values never occur.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHANNELS = 4
_VALUE_BITS = 8
_SIZE_BITS = np.array([3, 4, 8, 16])
_LONGEST = 2**16
_REPEATED = 1  # in front of a run of one value
_MARKED = 255


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """The bytes of `rle` in a result of Label Studio.

    Args:
        mask: `H W`, True where the brush was.
    """
    pixels = mask.ravel()
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    lengths = np.diff(np.append(starts, pixels.size)) * _CHANNELS
    marked = pixels[starts]
    # A run longer than the largest size is several of that size, also the last of them.
    pieces = -(-lengths // _LONGEST)
    last = np.cumsum(pieces) - 1
    runs = np.full(int(pieces.sum()), _LONGEST)
    runs[last] = lengths - (pieces - 1) * _LONGEST
    values = np.repeat(np.where(marked, _MARKED, 0), pieces)

    size = np.repeat(np.searchsorted(2**_SIZE_BITS, np.minimum(lengths, _LONGEST)), pieces)
    bits = _SIZE_BITS[size]
    codes = (((_REPEATED << 2 | size) << bits | (runs - 1)) << _VALUE_BITS) | values
    widths = 1 + 2 + bits + _VALUE_BITS
    head_codes = np.array([pixels.size * _CHANNELS, _VALUE_BITS - 1, *(_SIZE_BITS - 1)])
    stream = _as_bits(np.concatenate((head_codes, codes)), np.concatenate(([32, 5, 4, 4, 4, 4], widths)))
    filled = np.concatenate((stream, np.zeros(8 - stream.size % 8, np.uint8)))
    encoded: list[int] = np.packbits(filled).tolist()
    return encoded


def _as_bits(codes: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bits of numbers, each in so many, highest first."""
    ends = np.cumsum(widths)
    below = np.repeat(ends, widths) - 1 - np.arange(int(ends[-1]))
    return (np.repeat(codes, widths) >> below & 1).astype(np.uint8)
