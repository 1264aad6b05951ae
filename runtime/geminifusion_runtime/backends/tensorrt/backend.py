"""A prebuilt TensorRT engine on one GPU. Checked on CPU, not run on a GPU by us."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.backends.tensorrt.execution import LoadedEngine
from geminifusion_runtime.backends.tensorrt.requirements import engine_of, size_problem


class TensorRtBackend:
    """The engine of an artifact; each call at a time has an execution context, a stream and pinned buffers of its own.

    Memory: sized once for the engine's largest profile, whatever comes. A shape that repeats is replayed from a CUDA
    graph; the last eight are kept.

    Args:
        directory: of the artifact; its files were checked against their SHA-256.

    Raises:
        EngineError: a RuntimeError; the engine was built for another TensorRT, GPU or plugin, or TensorRT refuses it.
    """

    name = "tensorrt"

    def __init__(self, directory: Path, metadata: ArtifactMetadata, *, device: int = 0) -> None:
        self._profiles = engine_of(metadata)[1].profiles
        self._engine = LoadedEngine(directory, metadata, device=device)

    def size_problem(self, height: int, width: int) -> str | None:
        """Why frames of this size cannot be run, naming the ranges the engine was built for; None if they can."""
        return size_problem(self._profiles, height, width)

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Run one batch; see `Backend`.

        Raises:
            EngineError: a RuntimeError; a size outside every profile, or TensorRT or CUDA failed.
        """
        outputs = self._engine.run(inputs)
        return GraphOutputs(
            labels=cast("NDArray[np.uint8]", outputs["labels"]),
            confidence=cast("NDArray[np.float32]", outputs["confidence"]),
            gate=cast("NDArray[np.float32]", outputs["gate"]),
        )

    def close(self) -> None:
        """Give everything on the GPU back."""
        self._engine.close()
