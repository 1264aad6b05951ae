"""The scans of a JPEG, counted before it is decoded.

A decoder goes over all coefficients of the image once for each scan, and a scan can have fifty bytes: a file of one
megabyte would keep it busy for minutes.
"""

from __future__ import annotations

import re
import struct

MAX_SCANS = 64  # a progressive file has about ten
_MAX_MARKERS = 4096
_END, _SCAN = 0xD9, 0xDA
# In the data of a scan, 0xFF is followed by 0 (a value of 255) or is a restart marker; fill bytes come before a marker.
# TEM (0x01) has no content, and decoders skip it.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)
_BLOCK = 2**20  # bytes that are searched without a break, which holds the GIL


class TooManyScansError(ValueError):
    """The file has more scans than any encoder writes."""


def reaches_end(data: bytes, position: int) -> bool:
    """Walk from the first scan to the end marker; False if the file ends before it.

    Args:
        data: a JPEG.
        position: of the marker of its first scan.

    Raises:
        TooManyScansError: see there.
        struct.error: the file ends within a segment.
    """
    num_scans = 0
    for _ in range(_MAX_MARKERS):
        found = _next_marker(data, position)
        if found is None:
            return False
        marker = found[1][0]
        if marker == _END:
            return True
        num_scans += marker == _SCAN
        if num_scans > MAX_SCANS:
            break
        (length,) = struct.unpack_from(">H", data, found.end())
        position = found.end() + length
    raise TooManyScansError


def _next_marker(data: bytes, position: int) -> re.Match[bytes] | None:
    while position < len(data):
        if found := _MARKER.search(data, position, position + _BLOCK + 1):
            return found
        position += _BLOCK
    return None
