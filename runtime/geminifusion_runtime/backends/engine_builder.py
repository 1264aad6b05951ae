"""Builders of engines: what makes an artifact's files for one more runtime on the machine that will serve them.

A package registers a class in the entry-point group `geminifusion.engines`, under the name of the runtime. That is how
a server can have engines built although it never imports what builds them.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geminifusion_runtime.backends.protocol import BackendError

GROUP = "geminifusion.engines"


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build an engine.

    Args:
        plugin: a library of ours that the runtime loads; None builds without.
        device: number of the GPU to build on and for; builders for a CPU have no use for it.
    """

    plugin: Path | None = None
    device: int = 0


class EngineBuilder(Protocol):
    """Builds for one runtime."""

    def conditions(self, options: BuildOptions) -> Mapping[str, str]:
        """What an engine depends on beside the artifact: hardware, driver, versions, plugin; another engine is needed
        where one of them differs.

        Raises:
            BackendError: no engine can be built here; says what is missing.
        """

    def build(self, artifact: Path, destination: Path, options: BuildOptions) -> None:
        """Write a copy of an artifact with the engine among its files, verified on the golden set; whole or not at all.

        Raises:
            RuntimeError, ValueError, OSError: it cannot be built, or differs from the network beyond its budget.
        """


def open_builder(name: str) -> EngineBuilder:
    """The builder of a runtime.

    Raises:
        BackendError: no installed package provides it.
    """
    found = importlib.metadata.entry_points(group=GROUP, name=name)
    if not found:
        raise BackendError(f'no installed package builds engines for {name}; run: pip install "geminifusion[onnx]"')
    try:
        builder: EngineBuilder = next(iter(found)).load()()
    except ImportError as error:
        raise BackendError(
            f'building engines for {name} needs {error.name}; run: pip install "geminifusion[onnx]"'
        ) from None
    return builder
