"""Limits that a worker process sets itself, before it touches what clients sent.

The kernel keeps them, whatever a library in the process does: an allocation beyond the memory fails, and the process is
ended once it has used its processor time.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import time
from pathlib import Path

CPU_SIGNAL = signal.SIGXCPU  # what ends a process that has used its time


def allow_memory(num_bytes: int) -> None:
    """Let this process map so much more than it has now. Where the system does not tell how much that is, no limit."""
    with contextlib.suppress(OSError, ValueError):
        _lower(resource.RLIMIT_AS, _mapped_bytes() + num_bytes)


def memory_left() -> float:
    """Bytes that this process may still map; infinite without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if limit == resource.RLIM_INFINITY else limit - _mapped_bytes()


def allow_cpu(seconds: float) -> None:
    """Let this process compute for so long from now on, in all its threads together; to the second, rounded up."""
    _lower(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds))


def forbid_core_dumps() -> None:
    """Leave no copy of this process on the disk when it ends: it holds what clients sent."""
    _lower(resource.RLIMIT_CORE, 0)


def _mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _lower(which: int, value: int) -> None:
    """Set the soft limit; the hard one, which an operator may have set, stays."""
    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
