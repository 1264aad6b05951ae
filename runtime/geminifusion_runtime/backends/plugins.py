"""Runtimes that other packages bring: this package never imports torch, and need not know who does.

A package names a function in the entry-point group `geminifusion.backends`. It is called with the artifact's directory,
its metadata, and by keyword `threads`, `device` and `location`, which is what follows the colon of `--backend
NAME:LOCATION`. It returns a `Backend`.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import Backend
from geminifusion_runtime.devices import Device

GROUP = "geminifusion.backends"


def open_plugin(
    name: str, directory: Path, metadata: ArtifactMetadata, *, threads: int, device: Device, location: str = ""
) -> Backend:
    """Load an artifact with a runtime of another package.

    Args:
        location: of what the runtime needs beside the artifact.

    Raises:
        RuntimeError: no installed package brings it, or it does not run here.
    """
    found = importlib.metadata.entry_points(group=GROUP, name=name)
    if not found:
        raise RuntimeError(f'no installed package brings the backend {name}; run: pip install "geminifusion[export]"')
    try:
        open_with = next(iter(found)).load()
    except ImportError as error:
        raise RuntimeError(f'backend {name} needs {error.name}; run: pip install "geminifusion[export]"') from None
    backend: Backend = open_with(directory, metadata, threads=threads, device=str(device), location=location)
    return backend
