"""Memory of models: estimated before one is loaded, measured afterwards, held to a budget."""

from __future__ import annotations

import ctypes
import os
import statistics
import sys
from collections import deque
from pathlib import Path

from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata
from geminifusion_service.isolation.decoder_pool import DECODER_MODULE

# GeminiFusion-B0 on ONNX Runtime 1.32, one core: 98 MB resident once warm at 640x480, of a 14 MB file whose weights
# are float16. Replaced by what was measured as soon as a model has been loaded.
FIRST_GUESS = 7.0
_MEANINGFUL_BYTES = 2**20  # the memory of a smaller file is mostly the runtime's own, and predicts nothing
_REMEMBERED = 9  # measurements, so that the median ignores one that was taken during a burst of requests


def resident_bytes() -> int | None:
    """Resident memory of this process and its engines' processes, in bytes; None where the system does not report it.

    Decoding processes, which start while models are loaded, belong to no model.
    """
    if not Path("/proc/self/status").is_file():
        return None
    return sum(map(_resident_of, [os.getpid(), *(child for child in _children() if not _decodes(child))]))


def return_freed_memory() -> None:
    """Return freed memory to the system: the C library would keep it.

    The garbage collector does not run: that would delay every request by a tenth of a second, and models are in no
    reference cycles.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl has none and needs none
        if trim is not None:
            trim(0)


def model_file_bytes(directory: Path, metadata: ArtifactMetadata) -> int:
    """Bytes of the files that a runtime may load: the largest network, with the weights beside it."""
    sizes = {name: (directory / name).stat().st_size for name in metadata.files if (directory / name).is_file()}
    stems: dict[str, int] = {}
    for name in [MODEL_NAME, *(entry.file for entry in metadata.runtimes)]:
        stem = Path(name).stem
        stems[name] = sum(size for other, size in sizes.items() if Path(other).stem == stem)
    return max(stems.values())


class MemoryBudget:
    """Limit on the memory of all models together, with an estimate for the next one by those before it.

    Args:
        limit_bytes: 0 for no limit.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._factors: deque[float] = deque(maxlen=_REMEMBERED)

    def estimate(self, file_bytes: int) -> int:
        """Estimated resident bytes of a model: the bytes of its files times the median of the last measured factors."""
        return round(file_bytes * (statistics.median(self._factors) if self._factors else FIRST_GUESS))

    def learn(self, file_bytes: int, grown_bytes: int | None) -> int:
        """Record a measured load; returns the resident bytes to count for that model, at least those of its files.

        Requests that ran meanwhile count too, so it errs upwards.
        """
        if grown_bytes is None:
            return self.estimate(file_bytes)
        taken = max(grown_bytes, file_bytes)
        if file_bytes >= _MEANINGFUL_BYTES:
            self._factors.append(taken / file_bytes)
        return taken

    def shortage(self, needed_bytes: int, used_bytes: int) -> int:
        """Bytes that one more model is over the limit; 0 or less if it fits."""
        return used_bytes + needed_bytes - self.limit_bytes if self.limit_bytes else 0


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text(encoding="ascii").split())
        except FileNotFoundError:  # a thread that has just ended, or a kernel without that file
            continue
    return found


def _decodes(process: int) -> bool:
    try:
        return DECODER_MODULE.encode() in Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has just ended


def _resident_of(process: int) -> int:
    try:
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass  # a child that has just ended
    return 0
