"""Which runtime an artifact is served with on this machine, and why that one.

Labels come first: `auto` takes what answers as the torch network does (an engine in the artifact's own precision, then
OpenVINO in float32, then ONNX Runtime; on a GPU that was named, ONNX Runtime's CUDA provider). What trades labels for
speed, bfloat16 and int8, has to be asked for.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal, NamedTuple

from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata, RuntimeFile
from geminifusion_runtime.backends.names import check_backend
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.plugins import open_plugin
from geminifusion_runtime.backends.protocol import Backend
from geminifusion_runtime.devices import AUTO, Device

_ON_GPU = ("onnxruntime-cuda", "tensorrt")


class Chosen(NamedTuple):
    """A loaded runtime, and a clause for the log that says why it was taken."""

    backend: Backend
    reason: str


def open_backend(
    directory: Path,
    metadata: ArtifactMetadata,
    *,
    wanted: str = "auto",
    threads: int,
    custom_ops: Path | None = None,
    device: Device = AUTO,
) -> Chosen:
    """Load the artifact's files for one runtime on one device.

    Args:
        directory: of the artifact; its files were checked against their SHA-256.
        wanted: one of `names.BACKENDS`, or `torch:CHECKPOINT`.
        threads: of a runtime on the CPU.
        custom_ops: our kernels for ONNX Runtime on the CPU; other runtimes have no use for them.
        device: the runtime must be able to use it; the caller keeps its own thread to the device's cores.

    Raises:
        RuntimeError: what was asked for is not in the artifact or does not run here; or, for `auto`, nothing does.
        ValueError: `wanted` is none of the choices.
    """
    check_backend(wanted)
    if wanted == "auto":
        return _automatic(directory, metadata, threads, custom_ops, device)
    needed = "cuda" if wanted in _ON_GPU else "cpu"
    if not wanted.startswith("torch") and device.kind not in ("auto", needed):
        raise RuntimeError(f"backend {wanted} runs on {needed}, not on {device}; change --backend or --devices")
    return Chosen(_named(directory, metadata, wanted, threads, custom_ops, device), "it was asked for")


def _named(
    directory: Path, metadata: ArtifactMetadata, wanted: str, threads: int, custom_ops: Path | None, device: Device
) -> Backend:
    if wanted == "onnxruntime":
        return _onnx_runtime(directory, metadata, threads, custom_ops)
    if wanted == "onnxruntime-cuda":
        return _onnx_runtime_cuda(directory, metadata, device)
    if wanted == "tensorrt":
        _file(metadata, "tensorrt")
        return _tensorrt(directory, metadata, device)
    name, _, location = wanted.partition(":")
    if name == "torch":
        return open_plugin(name, directory, metadata, threads=threads, device=device, location=location)
    return _openvino(directory, metadata, wanted, threads)


def _automatic(
    directory: Path, metadata: ArtifactMetadata, threads: int, custom_ops: Path | None, device: Device
) -> Chosen:
    passed_over = []
    if device.kind != "cpu" and any(entry.runtime == "tensorrt" for entry in metadata.runtimes):
        try:
            return Chosen(_tensorrt(directory, metadata, device), "the artifact holds an engine for this GPU")
        except RuntimeError as error:
            passed_over.append(f"TensorRT: {error}")
    if device.kind == "cuda":
        reason = "; ".join([f"the artifact holds no engine that runs on {device}", *passed_over])
        return Chosen(_onnx_runtime_cuda(directory, metadata, device), reason)
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
    from geminifusion_runtime.backends.openvino import OpenVinoBackend

    int8 = wanted == "openvino-int8"
    entry = _file(metadata, "openvino", "int8" if int8 else "float32")
    precision: Literal["float32", "bfloat16", "int8"] = (
        "int8" if int8 else "bfloat16" if wanted == "openvino-bfloat16" else "float32"
    )
    reference = (1, *metadata.size.reference)
    return OpenVinoBackend(directory / entry.file, precision=precision, threads=threads, prepared=[reference])


def _onnx_runtime_cuda(directory: Path, metadata: ArtifactMetadata, device: Device) -> Backend:
    from geminifusion_runtime.backends.onnx_runtime_cuda import OnnxRuntimeCudaBackend

    height, width = metadata.size.reference
    return OnnxRuntimeCudaBackend(directory / MODEL_NAME, device=device.index, retained_pixels=height * width)


def _tensorrt(directory: Path, metadata: ArtifactMetadata, device: Device) -> Backend:
    from geminifusion_runtime.backends.tensorrt.backend import TensorRtBackend

    return TensorRtBackend(directory, metadata, device=device.index)


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
