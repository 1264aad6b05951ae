"""The end of the server process within its stated time, whatever its threads still do.

A thread cannot be stopped from outside, and the interpreter waits for every thread of a pool before it exits: one
decoder that a file leads in circles would keep the process for as long.
"""

from __future__ import annotations

import contextlib
import os
import threading


def end_within(seconds: float, *, code: int) -> None:
    """End this process with an exit code, unless it has ended by itself by then."""
    timer = threading.Timer(seconds, _end, args=(code,))
    timer.daemon = True
    timer.start()


def _end(code: int) -> None:
    # Not through sys.stdout, whose lock another thread may hold; and a full pipe must not keep the process either.
    with contextlib.suppress(OSError):
        os.set_blocking(1, False)
        os.write(1, b"geminifusion stopped; what was still running was ended\n")
    os._exit(code)
