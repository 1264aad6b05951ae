"""Facts about this machine, the installed packages and the source tree, on which a measurement depends.

Standard library only, and probing only: what cannot be read is left out.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from geminifusion_runtime.cpu_count import usable_cores

# Instructions that decide how fast a precision is on a CPU.
CPU_FEATURES = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_fp16",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
)
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
_SMI_TIMEOUT_S = 10.0
_GIT_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU, as its driver describes it."""

    name: str
    driver: str
    compute_capability: str


@dataclass(frozen=True, kw_only=True)
class SourceVersion:
    """A git commit, and whether files differ from it."""

    commit: str
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine; `threads` is the number of cores this process may use."""

    cpu: str
    cpu_features: tuple[str, ...]
    threads: int
    memory_gib: float | None
    system: str
    python: str
    gpus: tuple[Gpu, ...]


def describe_machine() -> Machine:
    """Probe the machine this runs on."""
    cpu, flags = _cpu()
    return Machine(
        cpu=cpu,
        cpu_features=tuple(name for name in CPU_FEATURES if name in flags),
        threads=usable_cores(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        gpus=nvidia_gpus(),
    )


def installed_packages() -> dict[str, str]:
    """Version of each installed package that a result depends on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    return _cpu()[0]


def nvidia_gpus() -> tuple[Gpu, ...]:
    """GPUs that `nvidia-smi` lists; none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        output = subprocess.run(  # noqa: S603 - a fixed query to the driver's own tool
            [program, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_SMI_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in output.splitlines()]
    return tuple(Gpu(name=row[0], driver=row[1], compute_capability=row[2]) for row in rows if len(row) == 3)


def source_version(folder: Path) -> SourceVersion | None:
    """The commit of the checkout that `folder` is tracked in, and whether files in `folder` differ from it.

    None where there is no checkout or no git. A folder that lies in a checkout without being tracked by it, such as a
    package installed inside somebody's project, has no version.
    """
    git = shutil.which("git")
    if git is None or not _git(git, folder, "ls-files", "."):
        return None
    commit = _git(git, folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return SourceVersion(commit=commit, changed=bool(_git(git, folder, "status", "--porcelain", ".")))


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


def _git(git: str, folder: Path, *arguments: str) -> str:
    """Git's output; empty where it fails: no checkout, another owner, a slow disk."""
    command = [git, "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        found = subprocess.run(  # noqa: S603 - fixed commands on our own folder
            command,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
