"""Engines for a server that has them built on its own machine; see `geminifusion_runtime.backends.engine_builder`.

Both builders are `geminifusion export ARTIFACT DESTINATION --to RUNTIME`, and need no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from geminifusion_export.engine.build import EngineOptions
from geminifusion_export.openvino_ir import import_openvino
from geminifusion_export.targets import TargetOptions, extend_artifact
from geminifusion_runtime.artifact import sha256_of
from geminifusion_runtime.backends.engine_builder import BuildOptions
from geminifusion_runtime.backends.tensorrt.loading import gpu_identity, import_tensorrt
from geminifusion_runtime.machine import cpu_name


class OpenVinoBuilder:
    """OpenVINO files in float32."""

    def conditions(self, options: BuildOptions) -> Mapping[str, str]:
        """The release of OpenVINO, and the processor it was verified on."""
        return {"openvino": str(import_openvino().__version__), "cpu": cpu_name()}

    def build(self, artifact: Path, destination: Path, options: BuildOptions) -> None:
        """See `EngineBuilder`."""
        extend_artifact(artifact, destination, TargetOptions(targets=("openvino",)))


class TensorRtBuilder:
    """A TensorRT engine for one GPU, in the precision of the artifact's graph."""

    def conditions(self, options: BuildOptions) -> Mapping[str, str]:
        """GPU, driver, TensorRT and plugin."""
        version = str(import_tensorrt().__version__)
        plugin = "none" if options.plugin is None else sha256_of(options.plugin)
        return {**gpu_identity(options.device), "tensorrt": version, "plugin": plugin}

    def build(self, artifact: Path, destination: Path, options: BuildOptions) -> None:
        """See `EngineBuilder`."""
        engine = EngineOptions(plugin=options.plugin, use_plugin=options.plugin is not None, device=options.device)
        extend_artifact(artifact, destination, TargetOptions(targets=("tensorrt",), engine=engine))
