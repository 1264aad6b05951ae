"""TensorRT as a `Runtime`, for verification and benchmarks. Checked on CPU, not run on a GPU by us."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.runtimes import Answers
from geminifusion_runtime.artifact import Precision, read_metadata
from geminifusion_runtime.backends.tensorrt.execution import LoadedEngine
from geminifusion_runtime.backends.tensorrt.requirements import engine_of


class TensorRtRuntime:
    """The TensorRT engine of an artifact on one GPU.

    Raises:
        ArtifactError: the metadata cannot be read.
        EngineError: the engine cannot be loaded here.
    """

    name = "tensorrt"

    def __init__(self, artifact: Path, *, device: int = 0) -> None:
        metadata = read_metadata(artifact)
        self.precision: Precision = engine_of(metadata)[0].precision
        self._engine = LoadedEngine(artifact, metadata, device=device)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Answers:
        """Run one batch; see `Runtime`.

        Raises:
            EngineError: a size outside every profile, or TensorRT or CUDA failed.
        """
        outputs = self._engine.run(feeds)
        return Answers(
            cast("NDArray[np.uint8]", outputs["labels"]),
            cast("NDArray[np.float32]", outputs["confidence"]),
            cast("NDArray[np.float32]", outputs["gate"]),
        )

    def close(self) -> None:
        """Give everything on the GPU back."""
        self._engine.close()
