"""Keep the memory that a training step gives back, instead of asking the kernel for it again in the next step."""

from __future__ import annotations

import ctypes
import platform
import sys

# malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

_HEAP_STEP_BYTES = 2**29


def keep_freed_memory() -> bool:
    """Tell glibc's `malloc` to hold on to freed pages, for the rest of this process.

    By default every tensor above some megabytes is mapped anew and unmapped when it is freed, so that each training
    step faults in (and the kernel zeroes) all its activations again, page by page. With this the process stays at the
    size of its largest step. Call it before the first large tensor.

    Returns:
        Whether it was done: only on Linux with glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    # no maps, no trimming of the heap's end, and a heap that grows in large steps
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _HEAP_STEP_BYTES))
    accepted = [mallopt(name, value) for name, value in settings]
    return accepted == [1, 1, 1]
