"""The lines that head every benchmark's output: processor, cores, load, commit and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.machine import cpu_name, source_version


def describe_machine(*packages: str) -> str:
    """Two lines: processor, cores and load; commit and the versions of Python and of these packages."""
    version = source_version(Path(__file__).parent.parent)
    commit = "unknown" if version is None else f"{version.commit[:7]}{'-dirty' if version.changed else ''}"
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{cpu_name()}, {usable_cores()} cores, load {load}\n"
        f"commit {commit}, Python {platform.python_version()}, {versions}"
    )
