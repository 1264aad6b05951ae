"""Part f: TensorRT: the plugin and an engine are built here, compared with the golden set and timed.

The same is done with the function in the file in place of the plugin, and in float16.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Literal

import onnx

from geminifusion_export.errors import PluginBuildError, first_line
from geminifusion_export.gpu_acceptance.backend_checks import check_backend, time_backend
from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_export.kernels.plugin_build import TENSORRT_HEADERS, build_tensorrt_plugin, find_headers
from geminifusion_export.precision import to_precision
from geminifusion_export.storage import save_model
from geminifusion_runtime.artifact import MODEL_NAME, read_metadata, sha256_of, write_metadata
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.devices import Device


def examine(report: Report) -> None:
    """Plugin and function body, float32 and float16."""
    with tempfile.TemporaryDirectory() as folder:
        plugin = _plugin(report, Path(folder))
        half = half_artifact(artifact_path(), Path(folder) / "half", "float16")
        for source, precision in ((artifact_path(), "float32"), (half, "float16")):
            for library in (None, plugin) if plugin is not None else (None,):
                what = f"{precision}, {'function body' if library is None else 'plugin'}"
                destination = Path(folder) / what.replace(", ", "-").replace(" ", "-")
                report.attempt(f"engine in {what}", partial(_engine, report, source, destination, library, what))


def _plugin(report: Report, folder: Path) -> Path | None:
    try:
        find_headers(TENSORRT_HEADERS)
    except PluginBuildError as error:
        report.note(f"without the plugin: {first_line(error)}")
        return None
    try:
        plugin = build_tensorrt_plugin(folder)
    except PluginBuildError as error:
        report.check("plugin build", False, first_line(error))
        return None
    report.check("plugin build", True, f"{plugin.stat().st_size // 1024} KiB")
    return plugin


def _engine(report: Report, source: Path, destination: Path, plugin: Path | None, what: str) -> str:
    from geminifusion_export.engine.build import EngineOptions
    from geminifusion_export.targets import TargetOptions, extend_artifact

    options = EngineOptions(plugin=plugin, use_plugin=plugin is not None, optimization_level=2)
    # the build counts the types and the plugin's layers in the finished engine, and the outputs are verified
    metadata = extend_artifact(source, destination, TargetOptions(targets=("tensorrt",), engine=options))
    gpu = Device(kind="cuda")
    if check_backend(report, destination, "tensorrt", gpu, f"golden set, {what}"):
        time_backend(report, destination, "tensorrt", gpu, f"TensorRT {what}")
    assert metadata.engine is not None, "the target adds it"
    return f"TensorRT {metadata.engine.tensorrt_version}, layers in {dict(metadata.engine.layer_precisions)}"


def half_artifact(source: Path, destination: Path, precision: Literal["float16", "bfloat16"]) -> Path:
    """A copy of a float32 artifact whose graph computes in a half type, with the same golden set."""
    metadata = read_metadata(source)
    destination.mkdir()
    for name in metadata.files:
        if name != MODEL_NAME:
            shutil.copy(source / name, destination / name)
    written = save_model(to_precision(onnx.load(source / MODEL_NAME), precision), destination / MODEL_NAME)
    write_metadata(
        destination,
        dataclasses.replace(
            metadata,
            precision=precision,
            weights_stored_as="float32",
            verification=(),
            files=metadata.files | {path.name: sha256_of(path) for path in written},
        ),
    )
    return destination
