"""From a GeminiFusion checkpoint to an artifact that can be served without torch, verified and measured.

The public names below import what they need when they are first used; everything else may change without notice.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geminifusion_export.benchmarking.benchmark import Benchmark, BenchmarkOptions, run_benchmark
    from geminifusion_export.build import ExportOptions, build_artifact
    from geminifusion_export.errors import BenchmarkError, ExportError, PluginBuildError, VerificationError
    from geminifusion_export.targets import TargetOptions, extend_artifact
    from geminifusion_export.verification.certificate import Certificate, Verification
    from geminifusion_export.verification.verify_artifact import verify_artifact

__all__ = [
    "Benchmark",
    "BenchmarkError",
    "BenchmarkOptions",
    "Certificate",
    "ExportError",
    "ExportOptions",
    "PluginBuildError",
    "TargetOptions",
    "Verification",
    "VerificationError",
    "build_artifact",
    "extend_artifact",
    "run_benchmark",
    "verify_artifact",
]

_MODULES = {
    "Benchmark": "benchmarking.benchmark",
    "BenchmarkError": "errors",
    "BenchmarkOptions": "benchmarking.benchmark",
    "Certificate": "verification.certificate",
    "ExportError": "errors",
    "ExportOptions": "build",
    "PluginBuildError": "errors",
    "TargetOptions": "targets",
    "Verification": "verification.certificate",
    "VerificationError": "errors",
    "build_artifact": "build",
    "extend_artifact": "targets",
    "run_benchmark": "benchmarking.benchmark",
    "verify_artifact": "verification.verify_artifact",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
