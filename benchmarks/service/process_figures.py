"""What a process and its children cost, from /proc: CPU seconds and memory. Linux."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_BLOCK = 512  # bytes, of st_blocks
_RESIDENT = re.compile(r"^Rss(Anon|File):\s+([0-9]+) kB", re.MULTILINE)


def family(pid: int) -> list[int]:
    """The process and everything it started that still runs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, new = [], [pid]
    while new:
        found.append(new.pop())
        new += children.get(found[-1], [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and its children, those that ended included."""
    ticks = 0
    for member in family(pid):
        if fields := _stat(member):
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory of the process and its children; pages they share count for each."""
    total = 0
    for member in family(pid):
        try:
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * _PAGE
        except OSError:
            continue  # it ended meanwhile
    return total


def charged_bytes(pid: int) -> int:
    """Memory of the process and its children as a container's limit counts it: what they share counts once.

    That is the memory of each alone, the anonymous files by which they hand arrays to each other, and the mapped part
    of libraries and other files, of which the process that maps most has nearly all. Buffers of sockets, which the
    kernel makes smaller when memory is short, are not counted.
    """
    alone, of_files = 0, 0
    anonymous_files: dict[int, int] = {}
    for member in family(pid):
        try:
            text = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue  # it ended meanwhile
        sizes = {name: int(size) * 1024 for name, size in _RESIDENT.findall(text)}
        alone += sizes.get("Anon", 0)
        of_files = max(of_files, sizes.get("File", 0))
        anonymous_files |= _anonymous_files(member)
    return alone + of_files + sum(anonymous_files.values())


def _anonymous_files(pid: int) -> dict[int, int]:
    """Bytes of the anonymous files that a process has open, by inode."""
    found = {}
    with contextlib.suppress(OSError):  # it ends meanwhile
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it is closed meanwhile
                if file.readlink().name.startswith("memfd:"):
                    status = file.stat()
                    found[status.st_ino] = status.st_blocks * _BLOCK
    return found


def thread_cpu_seconds() -> dict[int, float]:
    """User and system time of this process's threads, by the id the kernel knows them by."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        found[int(task.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may hold anything; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
