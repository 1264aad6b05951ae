"""How many cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def quota_cores(cgroup: Path) -> float | None:
    """Cores the cgroup's CPU quota grants (version 2 or 1), or None where there is no quota."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole cores to use, at least 1: the host's count is wrong in a container and under taskset."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_cores(cgroup)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))
