"""PGM and PPM in their binary forms (P5, P6), which robots and older depth data sets store: plain, big-endian numbers.

The formats: https://netpbm.sourceforge.net/doc/pgm.html and ppm.html.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Three numbers after the kind, with white space or comments between them, and one character of white space at the end.
_HEADER = re.compile(
    rb"P(?P<kind>[56])"
    + b"".join(
        rb"(?:\s|#[^\r\n]{0,1000}[\r\n]){1,100}(?P<%b>[0-9]{1,9})" % name for name in (b"width", b"height", b"top")
    )
    + rb"\s"
)
_MAX_HEADER_BYTES = 4096
_MAX_TOP = 65535


class NetpbmError(ValueError):
    """The header is damaged, or pixels are missing."""


@dataclass(frozen=True, kw_only=True)
class NetpbmLayout:
    """What the header says, and where the pixels begin."""

    width: int
    height: int
    channels: int
    top: int  # the value of white
    offset: int

    @property
    def bits(self) -> int:
        """Bits in which a number is stored."""
        return 8 if self.top < 256 else 16

    @property
    def shape(self) -> tuple[int, ...]:
        """`H W`, or `H W 3` of colour."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)


def read_layout(data: bytes) -> NetpbmLayout:
    """Read the header and check that all pixels are there.

    Raises:
        NetpbmError: they are not, or the header is damaged.
    """
    found = _HEADER.match(data[:_MAX_HEADER_BYTES])
    if found is None or not 0 < int(found["top"]) <= _MAX_TOP:
        raise NetpbmError
    layout = NetpbmLayout(
        width=int(found["width"]),
        height=int(found["height"]),
        channels=1 if found["kind"] == b"5" else 3,
        top=int(found["top"]),
        offset=found.end(),
    )
    if layout.offset + math.prod(layout.shape) * layout.bits // 8 > len(data):
        raise NetpbmError
    return layout


def decode_netpbm(data: bytes) -> NDArray[np.generic]:
    """The stored numbers, `H W` or `H W 3`, uint8 or uint16.

    Raises:
        NetpbmError: as `read_layout`.
    """
    layout = read_layout(data)
    kind = np.dtype("u1" if layout.bits == 8 else ">u2")
    stored = np.frombuffer(data, kind, count=math.prod(layout.shape), offset=layout.offset)
    return stored.reshape(layout.shape).astype(kind.newbyteorder("="))
