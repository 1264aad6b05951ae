"""Ends what a private Ray leaves behind, also when the process that started it was killed.

Ray's agents outlive its other processes when those are killed, and its folder stays anyway. So a reaper, a separate
process, holds one end of a pipe: when the other end closes, by `Reaper.finish` or by the death of its owner, it waits a
moment for Ray's processes, ends those that are left, and removes the folder. Standard library only, to stay small.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER_VARIABLE = "RAY_TMPDIR"  # Ray's own; every process of it inherits the variable


class Reaper:
    """The reaper of one folder. Start it before `FOLDER_VARIABLE` is set.

    Args:
        folder: Ray's; every process that was started with it in `FOLDER_VARIABLE` is Ray's too.
        grace_s: seconds these processes have to end by themselves.
    """

    def __init__(self, folder: Path, grace_s: float = 1.0) -> None:
        self._grace_s = grace_s
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", __spec__.name, str(folder), str(grace_s)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # so that Ctrl-C does not end it before us
        )

    def finish(self) -> None:
        """Let it reap; returns when nothing of Ray is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(self._grace_s + 10)


def processes_of(folder: Path) -> list[int]:
    """Ids of the other processes that were started with this folder; none where the system has no /proc."""
    marker = f"{FOLDER_VARIABLE}={folder}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                found.append(int(entry.parent.name))
        except OSError:  # gone, or somebody else's
            continue
    return found


def reap(folder: Path, grace_s: float) -> None:
    """Wait for the processes of a folder to end, kill those that take longer, and remove it."""
    until = time.monotonic() + grace_s
    while left := processes_of(folder):
        if time.monotonic() > until:
            for number in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    reap(Path(sys.argv[1]), float(sys.argv[2]))
