"""Peak memory of one backend at one shape, in a process that does nothing else.

    python -m geminifusion_export.benchmarking.peak_memory ARTIFACT BACKEND BATCH HEIGHT WIDTH THREADS

prints mebibytes. GPU memory is not counted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.backends.openvino import REPEATS
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.backends.selection import open_backend
from geminifusion_runtime.tasks.registry import open_task

_TIMEOUT_S = 300.0


def peak_memory_mib(artifact: Path, wanted: str, shape: BatchShape, threads: int) -> float | None:
    """Load one backend in a process of its own and run it; None if the process could not report its peak.

    Args:
        wanted: the backend, as `open_backend` takes it.
    """
    command = [sys.executable, "-m", __spec__.name, str(artifact), wanted, *map(str, (*shape, threads))]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter on this very module
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
        return float(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _own_peak_mib() -> float:
    """The largest resident size of this process; not `ru_maxrss`, which a child inherits from its parent."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the system does not report the peak")


def _main(artifact: str, wanted: str, *numbers: str) -> None:
    batch, height, width, threads = map(int, numbers)
    metadata = read_metadata(Path(artifact))
    try:
        backend, _ = open_backend(Path(artifact), metadata, wanted=wanted, threads=threads)
    except RuntimeError as error:
        raise SystemExit(str(error)) from None
    task = open_task(metadata)
    inputs = task.stack(task.random_items((batch, height, width)))
    for _ in range(REPEATS):  # as often as it takes until the shape has a compiled copy of its own
        backend.run(inputs)
    print(f"{_own_peak_mib():.1f}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
