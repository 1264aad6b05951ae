"""What this machine is: the facts a measurement depends on. Probing only; what cannot be read is left out."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# What decides how fast a precision is on a CPU: bf16 and 8-bit products want the last five.
CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_PACKAGES = (
    "geminifusion",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "nncf",
    "tensorrt",
    "tensorrt-cu13",
    "torch",
)
_SMI_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU, as its driver describes it."""

    name: str
    driver: str
    compute_capability: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine. `threads` are those this process may use, which in a container are fewer than there are."""

    cpu: str
    cpu_features: tuple[str, ...]
    threads: int
    memory_gib: float | None
    system: str
    python: str
    gpus: tuple[Gpu, ...]


def describe_machine() -> Machine:
    """Look at the machine this runs on."""
    cpu, flags = _cpu()
    return Machine(
        cpu=cpu,
        cpu_features=tuple(name for name in CPU_FEATURES if name in flags),
        threads=usable_threads(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        gpus=nvidia_gpus(),
    )


def installed_packages() -> dict[str, str]:
    """Version of each package a result depends on, of those that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def usable_threads(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Threads that can run at once: the affinity mask, and the CPU quota of the control group (version 2 or 1)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def nvidia_gpus() -> tuple[Gpu, ...]:
    """The GPUs `nvidia-smi` names; none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed question to the driver's own tool
            [program, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_SMI_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines()]
    return tuple(Gpu(name=row[0], driver=row[1], compute_capability=row[2]) for row in rows if len(row) == 3)


def _cpu() -> tuple[str, frozenset[str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    flags = facts.get("flags") or facts.get("Features") or ""
    return facts.get("model name") or platform.machine(), frozenset(flags.split())


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _quota(cgroup: Path) -> float | None:
    """Cores a control group grants, or None where there is no quota."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text(encoding="ascii") for name in names).split()
            return float(quota) / float(period) if float(quota) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None
