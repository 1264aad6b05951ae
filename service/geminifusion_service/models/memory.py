"""How much memory a model takes, before and after it is loaded."""

from __future__ import annotations

import ctypes
import os
import statistics
import sys
from collections import deque
from pathlib import Path

from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata

# GeminiFusion-B0 on ONNX Runtime 1.32, one core: 98 MB resident once warm at 640x480, of a 16 MB file whose weights
# are float16. Replaced by what was measured as soon as a model has been loaded.
FIRST_GUESS = 6.0
_TELLING_BYTES = 2**20  # what a smaller file takes is the runtime's own, and says nothing about larger ones
_REMEMBERED = 9  # measurements; the median of so many shrugs off one that was taken during a burst of requests


def resident_bytes() -> int | None:
    """Resident memory of this process and its children, in bytes; None where the system does not tell."""
    if not Path("/proc/self/status").is_file():
        return None
    return sum(map(_resident_of, [os.getpid(), *_children()]))


def return_freed_memory() -> None:
    """Give what was freed back to the system: the C library would keep it for itself.

    No garbage is collected: that would hold up every request for a tenth of a second, and models are in no cycles.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl has none and needs none
        if trim is not None:
            trim(0)


def model_file_bytes(directory: Path, metadata: ArtifactMetadata) -> int:
    """Bytes of the files that a runtime may load: the largest network, weights beside it included."""
    sizes = {name: (directory / name).stat().st_size for name in metadata.files if (directory / name).is_file()}
    stems: dict[str, int] = {}
    for name in [MODEL_NAME, *(entry.file for entry in metadata.runtimes)]:
        stem = Path(name).stem
        stems[name] = sum(size for other, size in sizes.items() if Path(other).stem == stem)
    return max(stems.values())


class MemoryBudget:
    """What models may take together, and how much the next one will, judged by those before it.

    Args:
        limit_bytes: 0 for no limit.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._factors: deque[float] = deque(maxlen=_REMEMBERED)

    def estimate(self, file_bytes: int) -> int:
        """Resident bytes a model will take: its files by the median of the last factors measured."""
        return round(file_bytes * (statistics.median(self._factors) if self._factors else FIRST_GUESS))

    def learn(self, file_bytes: int, grown_bytes: int | None) -> int:
        """Take note of a measured load; returns the resident bytes to reckon with for that model.

        Requests that were answered meanwhile count too, so it errs upwards; never below the files themselves.
        """
        if grown_bytes is None:
            return self.estimate(file_bytes)
        taken = max(grown_bytes, file_bytes)
        if file_bytes >= _TELLING_BYTES:
            self._factors.append(taken / file_bytes)
        return taken

    def shortage(self, needed_bytes: int, used_bytes: int) -> int:
        """Bytes that are missing for one more model; 0 or less if it fits."""
        return used_bytes + needed_bytes - self.limit_bytes if self.limit_bytes else 0


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text(encoding="ascii").split())
        except FileNotFoundError:  # a thread that has just ended, or a kernel without that file
            continue
    return found


def _resident_of(process: int) -> int:
    try:
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass  # a child that has just ended
    return 0
