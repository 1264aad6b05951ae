"""Part e: ONNX Runtime's CUDA provider on the bundled model."""

from __future__ import annotations

from geminifusion_export.gpu_acceptance.backend_checks import check_backend, time_backend
from geminifusion_export.gpu_acceptance.result import Missing, Report
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.devices import Device


def examine(report: Report) -> None:
    """Agreement with the golden set, then speed."""
    from geminifusion_runtime.backends.onnx_runtime_cuda import provider_problem

    if (problem := provider_problem()) is not None:
        raise Missing(problem)
    gpu = Device(kind="cuda")
    if check_backend(report, artifact_path(), "onnxruntime-cuda", gpu, "golden set"):
        time_backend(report, artifact_path(), "onnxruntime-cuda", gpu, "ONNX Runtime CUDA")
