"""glibc's memory allocator, told to keep what a process frees instead of asking the kernel for it again.

By default the buffer of every image or tensor is mapped anew and unmapped when it is freed, and the kernel clears each
of its pages again: half a millisecond for a pair of 640x480, a good share of a training step for its activations.
"""

from __future__ import annotations

import ctypes
import platform
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4  # of malloc.h
_MEBIBYTE = 2**20


def keep_freed_memory(most_bytes: int | None = None) -> bool:
    """Keep freed memory for the rest of this process. Call it before the first large allocation.

    Args:
        most_bytes: freed memory to keep, at most 64 MiB; a buffer of more than half of it still goes back to the
            system. None keeps everything, so that the process stays at the size of its largest step.

    Returns:
        Whether it was done: only on Linux with glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    if most_bytes is None:  # no mappings, no trimming of the heap's end, and a heap that grows in large steps
        options = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_TOP_PAD: 512 * _MEBIBYTE}
    else:
        options = {_M_MMAP_THRESHOLD: most_bytes // 2, _M_TRIM_THRESHOLD: most_bytes, _M_TOP_PAD: 4 * _MEBIBYTE}
    accepted = [mallopt(option, value) for option, value in options.items()]
    return all(accepted)
