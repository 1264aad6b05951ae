"""A limit of memory that the kernel enforces, where podman may make no cgroups itself."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """A cgroup of version 1 or 2; what joins it, and all that it starts, have so much memory together.

    Args:
        name: of the group's folder, below the root of this machine's groups.
        most: bytes; beyond them the kernel kills.

    Raises:
        OSError: this machine lets nobody make one.
    """

    def __init__(self, name: str, most: int) -> None:
        first = (_ROOT / "memory").is_dir()
        if not first:
            (_ROOT / "cgroup.subtree_control").write_text("+memory")
        self._folder = (_ROOT / "memory" if first else _ROOT) / name
        self._events = self._folder / ("memory.oom_control" if first else "memory.events")
        self._anonymous = "total_rss" if first else "anon"
        self._folder.mkdir(exist_ok=True)
        (self._folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(most))

    @property
    def join(self) -> tuple[str, ...]:
        """Comes before the arguments of a command that runs in the group."""
        return ("sh", "-c", f'echo 0 > {self._folder}/cgroup.procs && exec "$@"', "sh")

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed because of the limit."""
        return self._numbers(self._events)["oom_kill"]

    @property
    def held(self) -> int:
        """Bytes that its processes hold now, without the kernel's copies of files, which give way."""
        return self._numbers(self._folder / "memory.stat")[self._anonymous]

    def remove(self) -> None:
        """Remove it, once its processes have ended."""
        for _ in range(50):
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                return
            time.sleep(0.2)
        raise AssertionError(f"{self._folder} has the processes {(self._folder / 'cgroup.procs').read_text().split()}")

    @staticmethod
    def _numbers(file: Path) -> dict[str, int]:
        return {name: int(number) for name, number in map(str.split, file.read_text().splitlines())}
