"""What an `.npy` file holds by its header; needs nothing but NumPy, so that a client reads clouds without decoders."""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np

from geminifusion_runtime.errors import UndecodableImageError, UnsupportedImageError

NPY_SIGNATURE: Final = b"\x93NUMPY"
_HEADER = 1024  # bytes of the literal, which numpy parses as Python
_SIZES = (1, 2, 4, 8)  # bytes of the numbers that are served


def read_npy_layout(data: bytes, field: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Shape, Fortran order, dtype and the offset of the values of an `.npy` file.

    Raises:
        UndecodableImageError: the header does not parse, or values are missing.
        UnsupportedImageError: it holds Python objects.
    """
    stream = io.BytesIO(data[:65_600])
    cut_short = f"{field} is a NPY that is cut short or damaged; send the whole file"
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream, max_header_size=_HEADER)
    except Exception:  # numpy parses the header as a Python literal and lets many kinds of error out
        raise UndecodableImageError(cut_short) from None
    if dtype.kind not in "fiu" or dtype.itemsize not in _SIZES:
        raise UnsupportedImageError(f"{field} is an npy of dtype {dtype}; send plain float or uint16 numbers")
    offset = stream.tell()
    if (
        any(type(side) is not int or not 0 <= side <= len(data) for side in shape)
        or math.prod(shape) * dtype.itemsize != len(data) - offset  # not np.prod, which wraps around
    ):
        raise UndecodableImageError(cut_short)
    return shape, fortran, dtype, offset
