"""What parts need of a machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from geminifusion_export.errors import PluginBuildError, first_line
from geminifusion_export.gpu_acceptance.parts import Part
from geminifusion_export.gpu_acceptance.result import Missing
from geminifusion_export.kernels.plugin_build import find_nvcc
from geminifusion_runtime.machine import nvidia_gpus


def missing_for(part: Part) -> str | None:
    """Everything that a part lacks here, with how to get it; None if it can start. Imports nothing of it."""
    missing = []
    if not nvidia_gpus():
        missing.append("no NVIDIA GPU (nvidia-smi is missing or names none; install the driver)")
    missing += [
        f"{package} is not installed (run: {advice})" for package, advice in part.packages if not is_installed(package)
    ]
    return "; ".join(missing) or None


def is_installed(package: str) -> bool:
    """Whether a package, or a package of a namespace, can be found."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # the namespace is not there, or the package only half
        return False


def require_torch_gpu() -> None:
    """Torch that sees a GPU.

    Raises:
        Missing: this build has no CUDA, or does not fit the driver.
    """
    import torch

    if torch.version.cuda is None:
        raise Missing(f"torch {torch.__version__} is built without CUDA; install the build for your driver")
    if not torch.cuda.is_available():
        raise Missing(f"torch {torch.__version__} sees no GPU; its CUDA {torch.version.cuda} may need a newer driver")


def require_nvcc() -> Path:
    """The CUDA compiler's path.

    Raises:
        Missing: there is none.
    """
    try:
        return find_nvcc()
    except PluginBuildError as error:
        raise Missing(first_line(error)) from None
