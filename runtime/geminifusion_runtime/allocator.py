"""What becomes of memory that a process frees.

glibc gives the buffers of images back to the system and asks for them again with the next image, and the kernel clears
every page of them anew: half a millisecond for a pair of 640x480.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
_MEBIBYTE = 2**20


def keep_freed_memory() -> None:
    """Keep up to 64 MiB of what is freed for the next image; larger buffers still go back. glibc only."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * _MEBIBYTE)
        mallopt(_M_TRIM_THRESHOLD, 64 * _MEBIBYTE)
        mallopt(_M_TOP_PAD, 4 * _MEBIBYTE)
