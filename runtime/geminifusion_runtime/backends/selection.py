"""Which runtime an artifact is run with on this machine, and why that one.

Labels come first: `auto` takes what gives the labels of the torch network (an engine in the artifact's own precision,
then OpenVINO in float32, then ONNX Runtime; on a GPU that was named, ONNX Runtime's CUDA provider, and torch where that
is not installed). bfloat16 and int8, which trade labels for speed, have to be asked for.

Everything that runs an artifact opens it here, so a backend is verified, measured and self-tested with the options it
serves with.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast, get_args

from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata, Precision, RuntimeFile
from geminifusion_runtime.backends import check_backend
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.plugins import open_plugin
from geminifusion_runtime.backends.protocol import Backend, BackendError
from geminifusion_runtime.devices import AUTO, Device

_ON_GPU = ("onnxruntime-cuda", "tensorrt")
_OPENVINO: dict[str, Precision] = {
    "openvino": "float32",
    "openvino-bfloat16": "bfloat16",
    "openvino-int8": "int8",
}


class Chosen(NamedTuple):
    """A loaded backend, and a clause for the log that says why it was chosen."""

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
        wanted: one of `BACKENDS`, or one of torch's with a checkpoint, `torch:CHECKPOINT`.
        threads: of a runtime on the CPU.
        custom_ops: our kernels for ONNX Runtime on the CPU; other runtimes have no use for them.
        device: the runtime must be able to use it; the caller keeps its own thread to the device's cores.

    Raises:
        RuntimeError: the artifact has no file for what was asked for, or it does not run here.
        ValueError: `wanted` is none of the choices.
    """
    check_backend(wanted)
    loader = _Loader(directory, metadata, threads, custom_ops, device)
    if wanted == "auto":
        return loader.automatic()
    needed = "cuda" if wanted in _ON_GPU else "cpu"
    if not wanted.startswith("torch") and device.kind not in ("auto", needed):
        raise BackendError(f"backend {wanted} runs on {needed}, not on {device}; change --backend or --devices")
    return Chosen(loader.named(wanted), "it was asked for")


def precision_of(metadata: ArtifactMetadata, backend: str) -> Precision:
    """The precision that a backend of this name computes the artifact in; see `Backend.name`."""
    for precision in get_args(Precision):
        if backend.endswith(f"-{precision}"):
            return precision
    if backend.startswith(("openvino", "torch")):
        return "float32"
    for entry in metadata.runtimes:
        if entry.runtime == backend:
            return entry.precision
    return metadata.precision


@dataclass(frozen=True)
class _Loader:
    """One artifact on one device."""

    directory: Path
    metadata: ArtifactMetadata
    threads: int
    custom_ops: Path | None
    device: Device

    def automatic(self) -> Chosen:
        passed_over = []
        if self.device.kind != "cpu" and any(entry.runtime == "tensorrt" for entry in self.metadata.runtimes):
            try:
                return Chosen(self._tensorrt(), "the artifact holds an engine for this GPU")
            except RuntimeError as error:
                passed_over.append(f"TensorRT: {error}")
        if self.device.kind == "cuda":
            return self._on_gpu([f"the artifact holds no engine that runs on {self.device}", *passed_over])
        if any((entry.runtime, entry.precision) == ("openvino", "float32") for entry in self.metadata.runtimes):
            if importlib.util.find_spec("openvino") is None:
                passed_over.append('OpenVINO: not installed (pip install "geminifusion[openvino]")')
            else:
                reason = "the artifact holds OpenVINO files, the fastest with the same labels here"
                return Chosen(self._openvino("openvino"), "; ".join([reason, *passed_over]))
        reason = "; ".join(passed_over) or "the artifact holds nothing for another runtime"
        return Chosen(self._onnx_runtime(), reason)

    def named(self, wanted: str) -> Backend:
        if wanted == "onnxruntime":
            return self._onnx_runtime()
        if wanted == "onnxruntime-cuda":
            return self._onnx_runtime_cuda()
        if wanted == "tensorrt":
            self._file("tensorrt")
            return self._tensorrt()
        if wanted in _OPENVINO:
            return self._openvino(wanted)
        runtime, _, location = wanted.partition(":")
        return self._torch(cast(Precision, runtime.partition("-")[2] or "float32"), location)

    def _on_gpu(self, passed_over: list[str]) -> Chosen:
        """ONNX Runtime's CUDA provider, or else torch.

        Raises:
            BackendError: neither runs here; says why of both.
        """
        try:
            return Chosen(self._onnx_runtime_cuda(), "; ".join(passed_over))
        except BackendError as error:
            passed_over = [*passed_over, f"ONNX Runtime: {error}"]
        try:
            return Chosen(self._torch("float32"), "; ".join(passed_over))
        except BackendError as error:
            raise BackendError("; ".join([*passed_over, f"torch: {error}"])) from None

    def _torch(self, precision: Precision, location: str = "") -> Backend:
        return open_plugin(
            "torch",
            self.directory,
            self.metadata,
            threads=self.threads,
            device=self.device,
            location=location,
            precision=precision,
        )

    def _onnx_runtime(self) -> Backend:
        height, width = self.metadata.size.reference
        return OnnxRuntimeBackend(
            self.directory / MODEL_NAME,
            threads=self.threads,
            retained_pixels=height * width,
            custom_ops=self.custom_ops,
            outputs=self.metadata.outputs,
        )

    def _openvino(self, wanted: str) -> Backend:
        from geminifusion_runtime.backends.openvino import OpenVinoBackend

        precision = _OPENVINO[wanted]
        entry = self._file("openvino", "int8" if precision == "int8" else "float32")
        return OpenVinoBackend(
            self.directory / entry.file,
            precision=precision,
            threads=self.threads,
            prepared=[(1, *self.metadata.size.reference)],
            outputs=self.metadata.outputs,
        )

    def _onnx_runtime_cuda(self) -> Backend:
        from geminifusion_runtime.backends.onnx_runtime_cuda import OnnxRuntimeCudaBackend

        height, width = self.metadata.size.reference
        return OnnxRuntimeCudaBackend(
            self.directory / MODEL_NAME,
            device=self.device.index,
            retained_pixels=height * width,
            outputs=self.metadata.outputs,
        )

    def _tensorrt(self) -> Backend:
        from geminifusion_runtime.backends.tensorrt.backend import TensorRtBackend

        return TensorRtBackend(self.directory, self.metadata, device=self.device.index)

    def _file(self, runtime: str, precision: str | None = None) -> RuntimeFile:
        for entry in self.metadata.runtimes:
            if entry.runtime == runtime and precision in (None, entry.precision):
                return entry
        held = ", ".join(f"{entry.runtime} {entry.precision}" for entry in self.metadata.runtimes)
        target = f"{runtime}-int8" if precision == "int8" else runtime
        raise BackendError(
            f"{self.metadata.reference} has no file for {runtime} {precision or ''}".rstrip()
            + f" (it has: {held or 'none but model.onnx'}); add one: "
            f"geminifusion export ARTIFACT DESTINATION --to {target}"
        )
