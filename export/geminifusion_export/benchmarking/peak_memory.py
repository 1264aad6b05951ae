"""Peak memory of one runtime on one shape, in a process that does nothing else.

    python -m geminifusion_export.benchmarking.peak_memory ARTIFACT PLACE BATCH HEIGHT WIDTH THREADS

prints mebibytes. Memory of a GPU is not counted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from geminifusion_export.runtime_discovery import Unavailable, open_runtimes
from geminifusion_export.verification.comparison import Shape
from geminifusion_export.verification.sample_inputs import sample_feeds
from geminifusion_runtime.artifact import read_metadata

_SECONDS = 300.0


def peak_memory_mib(artifact: Path, place: int, shape: Shape, threads: int) -> float | None:
    """Ask a process of its own to load one runtime and run it twice; None if it could not say.

    Args:
        place: of the runtime in `available.open_runtimes`.
    """
    command = [sys.executable, "-m", __spec__.name, str(artifact), *map(str, (place, *shape, threads))]
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter on this very module
            command, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        return float(answer.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _own_peak_mib() -> float:
    """The largest resident size this process has had; not `ru_maxrss`, which a child inherits from its parent."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the system does not say what the peak was")


def _main(artifact: str, *numbers: str) -> None:
    place, batch, height, width, threads = map(int, numbers)
    metadata = read_metadata(Path(artifact))
    (runtime,) = open_runtimes(Path(artifact), metadata, threads, only=place)
    if isinstance(runtime, Unavailable):
        raise SystemExit(runtime.reason)
    feeds = sample_feeds(metadata.modalities, (batch, height, width))
    for _ in range(2):
        runtime.run(feeds)
    print(f"{_own_peak_mib():.1f}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
