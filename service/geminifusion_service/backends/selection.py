"""Which runtime an artifact is served with on this machine, and why that one.

Labels come first: `auto` takes what answers as the torch network does (an engine in the artifact's own precision, then
OpenVINO in float32, then ONNX Runtime). What trades labels for speed, bfloat16 and int8, has to be asked for.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal, NamedTuple

from geminifusion_export.artifact import MODEL_NAME, ArtifactMetadata, RuntimeFile
from geminifusion_service.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_service.backends.protocol import Backend
from geminifusion_service.settings import BACKENDS


class Chosen(NamedTuple):
    """A loaded runtime, and a clause for the log that says why it was taken."""

    backend: Backend
    reason: str


def open_backend(
    directory: Path, metadata: ArtifactMetadata, *, wanted: str = "auto", threads: int, custom_ops: Path | None = None
) -> Chosen:
    """Load the artifact's files for one runtime.

    Args:
        directory: of the artifact; its files were checked against their SHA-256.
        wanted: one of `BACKENDS`.
        threads: of a runtime on the CPU.
        custom_ops: our kernels for ONNX Runtime; other runtimes have no use for them.

    Raises:
        RuntimeError: what was asked for is not in the artifact or does not run here; or, for `auto`, nothing does.
        ValueError: `wanted` is none of the choices.
    """
    if wanted not in BACKENDS:
        raise ValueError(f"backend is {wanted!r}; expected one of {', '.join(BACKENDS)}")
    if wanted == "onnxruntime":
        return Chosen(_onnx_runtime(directory, metadata, threads, custom_ops), "it was asked for")
    if wanted == "tensorrt":
        _file(metadata, "tensorrt")
        return Chosen(_tensorrt(directory, metadata), "it was asked for")
    if wanted != "auto":
        return Chosen(_openvino(directory, metadata, wanted, threads), "it was asked for")
    return _automatic(directory, metadata, threads, custom_ops)


def _automatic(directory: Path, metadata: ArtifactMetadata, threads: int, custom_ops: Path | None) -> Chosen:
    passed_over = []
    if any(entry.runtime == "tensorrt" for entry in metadata.runtimes):
        try:
            return Chosen(_tensorrt(directory, metadata), "the artifact holds an engine for this GPU")
        except RuntimeError as error:
            passed_over.append(f"TensorRT: {error}")
    if any((entry.runtime, entry.precision) == ("openvino", "float32") for entry in metadata.runtimes):
        if importlib.util.find_spec("openvino") is None:
            passed_over.append('OpenVINO: not installed (pip install "geminifusion[openvino]")')
        else:
            return Chosen(
                _openvino(directory, metadata, "openvino", threads),
                "; ".join(["the artifact holds OpenVINO files, the fastest with the same labels here", *passed_over]),
            )
    reason = "; ".join(passed_over) or "the artifact holds nothing for another runtime"
    return Chosen(_onnx_runtime(directory, metadata, threads, custom_ops), reason)


def _onnx_runtime(directory: Path, metadata: ArtifactMetadata, threads: int, custom_ops: Path | None) -> Backend:
    height, width = metadata.size.reference
    return OnnxRuntimeBackend(
        directory / MODEL_NAME, threads=threads, retained_pixels=height * width, custom_ops=custom_ops
    )


def _openvino(directory: Path, metadata: ArtifactMetadata, wanted: str, threads: int) -> Backend:
    from geminifusion_service.backends.openvino_cpu import OpenVinoBackend

    int8 = wanted == "openvino-int8"
    entry = _file(metadata, "openvino", "int8" if int8 else "float32")
    precision: Literal["float32", "bfloat16", "int8"] = (
        "int8" if int8 else "bfloat16" if wanted == "openvino-bfloat16" else "float32"
    )
    reference = (1, *metadata.size.reference)
    return OpenVinoBackend(directory / entry.file, precision=precision, threads=threads, prepared=[reference])


def _tensorrt(directory: Path, metadata: ArtifactMetadata) -> Backend:
    from geminifusion_service.backends.tensorrt_engine import TensorRtBackend

    return TensorRtBackend(directory, metadata)


def _file(metadata: ArtifactMetadata, runtime: str, precision: str | None = None) -> RuntimeFile:
    for entry in metadata.runtimes:
        if entry.runtime == runtime and precision in (None, entry.precision):
            return entry
    held = ", ".join(f"{entry.runtime} {entry.precision}" for entry in metadata.runtimes) or "none but model.onnx"
    target = f"{runtime}-int8" if precision == "int8" else runtime
    raise RuntimeError(
        f"{metadata.reference} has no file for {runtime} {precision or ''}".rstrip()
        + f" (it has: {held}); add one: geminifusion export ARTIFACT DESTINATION --to {target}"
    )
