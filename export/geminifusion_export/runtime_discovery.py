"""Which runtimes an artifact has files for, and which of those run on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geminifusion_export.error_text import first_line
from geminifusion_export.runtimes import OnnxRuntime, Runtime
from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata, RuntimeFile


@dataclass(frozen=True)
class Unavailable:
    """A runtime that cannot be asked here: what it would be called, and why not."""

    name: str
    reason: str


def open_runtimes(
    artifact: Path,
    metadata: ArtifactMetadata,
    threads: int = 0,
    *,
    custom_ops: Path | None = None,
    only: int | None = None,
) -> list[Runtime | Unavailable]:
    """Load everything the artifact has files for, in the order of its metadata, ONNX Runtime first.

    Args:
        threads: of each runtime on the CPU; 0 leaves the choice to the runtime.
        custom_ops: our kernels for ONNX Runtime, as one more runtime.
        only: place in the answer of the one to load, for who must not have the others in memory.
    """
    loaders: list[Callable[[], Runtime | Unavailable]] = [lambda: _onnx_runtime(artifact, metadata, threads, None)]
    if custom_ops is not None:
        loaders.append(lambda: _onnx_runtime(artifact, metadata, threads, custom_ops))
    loaders += [partial(_runtime, artifact, metadata, entry, threads) for entry in metadata.runtimes]
    return [load() for load in (loaders if only is None else loaders[only : only + 1])]


def label(runtime: Runtime | Unavailable) -> str:
    """The runtime's name with its precision, which tells two files of one runtime apart."""
    return runtime.name if isinstance(runtime, Unavailable) else f"{runtime.name} {runtime.precision}"


def _onnx_runtime(
    artifact: Path, metadata: ArtifactMetadata, threads: int, custom_ops: Path | None
) -> Runtime | Unavailable:
    name = "onnxruntime-cpu" if custom_ops is None else "onnxruntime-cpu+ops"
    try:
        return OnnxRuntime(artifact / MODEL_NAME, threads=threads, custom_ops=custom_ops, precision=metadata.precision)
    except Exception as error:
        return Unavailable(f"{name} {metadata.precision}", first_line(error))


def _runtime(artifact: Path, metadata: ArtifactMetadata, entry: RuntimeFile, threads: int) -> Runtime | Unavailable:
    name = f"{entry.runtime} {entry.precision}"
    try:
        if entry.runtime == "openvino":
            return _openvino(artifact, entry, threads)
        from geminifusion_export.engine.runtime import TensorRtRuntime

        return TensorRtRuntime(artifact)
    except ModuleNotFoundError as error:
        return Unavailable(name, f'{error.name} is not installed; run: pip install "geminifusion[{entry.runtime}]"')
    # a runtime may fail in any way its libraries like, and the others are asked all the same
    except Exception as error:
        return Unavailable(name, first_line(error))


def _openvino(artifact: Path, entry: RuntimeFile, threads: int) -> Runtime:
    from geminifusion_export.openvino_ir import OpenVinoRuntime

    if entry.precision == "float16":
        raise ValueError("OpenVINO computes in float32, bfloat16 or int8 on a CPU; export one of these")
    return OpenVinoRuntime(artifact / entry.file, threads=threads, precision=entry.precision)
