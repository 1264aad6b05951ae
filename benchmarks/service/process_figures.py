"""What a process and its children cost, from /proc: CPU seconds and memory. Linux."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


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


def proportional_bytes(pid: int) -> dict[int, int]:
    """Memory of the process and each of its children, by process id: pages that several share are split among them.

    The sum is what a container with nothing else in it is charged for, except for files in the page cache.
    """
    found = {}
    for member in family(pid):
        try:
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue  # it ended meanwhile
        found[member] = 1024 * next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
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
