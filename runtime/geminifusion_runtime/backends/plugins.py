"""Backends that other packages provide.

A package registers a function in the entry-point group `geminifusion.backends`. It is called with the artifact's
directory, its metadata, and by keyword `threads`, `device`, `location` and `precision`; the last two are what follows
the colon and the hyphen of `--backend NAME-PRECISION:LOCATION`. It returns a `Backend`. That is how torch can run an
artifact although this package never imports it.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from geminifusion_runtime.artifact import ArtifactMetadata, Precision
from geminifusion_runtime.backends.protocol import Backend, BackendError
from geminifusion_runtime.devices import Device

GROUP = "geminifusion.backends"


def open_plugin(
    name: str,
    directory: Path,
    metadata: ArtifactMetadata,
    *,
    threads: int,
    device: Device,
    location: str = "",
    precision: Precision = "float32",
) -> Backend:
    """Load an artifact with a backend of another package.

    Args:
        name: of the entry point.
        location: path of what the backend needs besides the artifact.
        precision: what the backend is to compute in.

    Raises:
        RuntimeError: no installed package provides it, or it does not run here.
    """
    found = importlib.metadata.entry_points(group=GROUP, name=name)
    if not found:
        raise BackendError(f'no installed package provides the backend {name}; run: pip install "geminifusion[export]"')
    try:
        open_with = next(iter(found)).load()
    except ImportError as error:
        raise BackendError(f'backend {name} needs {error.name}; run: pip install "geminifusion[export]"') from None
    backend: Backend = open_with(
        directory, metadata, threads=threads, device=str(device), location=location, precision=precision
    )
    return backend
