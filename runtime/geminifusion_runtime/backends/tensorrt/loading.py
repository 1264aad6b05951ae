"""Finding TensorRT and the GPU, and loading engine and plugin; shared by building and running an engine.

TensorRT and cuda-bindings are optional, so they are imported when a function is called.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar, cast

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.tensorrt.requirements import (
    TensorRtError,
    engine_of,
    plugin_of,
    require_capability,
    require_version,
)
from geminifusion_runtime.machine import nvidia_gpus

if TYPE_CHECKING:
    import tensorrt as trt
    from cuda.bindings import runtime as cudart

_INSTALL = 'install it: pip install "geminifusion[tensorrt]"'
_LOG = logging.getLogger(__name__)

T = TypeVar("T")


def import_tensorrt() -> ModuleType:
    """Import `tensorrt`.

    Raises:
        TensorRtError: it is not installed, lacks its libraries, or is older than version 10.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "tensorrt"
        what = "TensorRT is not installed" if missing else f"TensorRT cannot be loaded ({error})"
        raise TensorRtError(f"{what}; {_INSTALL}, or see NVIDIA's installation guide") from None
    if int(tensorrt.__version__.split(".")[0]) < 10:
        raise TensorRtError(f"TensorRT {tensorrt.__version__} is installed, engines need 10.13 or newer; {_INSTALL}")
    return tensorrt


def import_cuda() -> ModuleType:
    """Import `cuda.bindings.runtime`.

    Raises:
        TensorRtError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise TensorRtError(f"the CUDA bindings cannot be loaded ({error}); {_INSTALL}") from None
    return runtime


def check(result: tuple[cudart.cudaError_t] | tuple[cudart.cudaError_t, T]) -> T:
    """Return the value of a CUDA call, whose result starts with its error code.

    Raises:
        TensorRtError: the call failed.
    """
    from cuda.bindings import runtime

    error, value = result if len(result) == 2 else (result[0], None)
    if error != runtime.cudaError_t.cudaSuccess:
        name, words = (runtime.cudaGetErrorName(error)[1], runtime.cudaGetErrorString(error)[1])
        raise TensorRtError(f"CUDA failed with {name.decode()} ({words.decode()}); see nvidia-smi, or try again")
    return cast(T, value)


def compute_capability(device: int = 0) -> str:
    """Compute capability of one GPU, such as `8.9`.

    Raises:
        TensorRtError: there is no driver, or no such GPU.
    """
    import_cuda()
    from cuda.bindings import runtime

    error, count = runtime.cudaGetDeviceCount()
    if error != runtime.cudaError_t.cudaSuccess or count <= device:
        why = runtime.cudaGetErrorString(error)[1].decode() if error else f"{count} GPU(s) found"
        raise TensorRtError(
            f"there is no NVIDIA GPU {device} to use here ({why}); run where nvidia-smi lists one, in a container with "
            "--gpus all"
        )
    attributes = runtime.cudaDeviceAttr
    major, minor = (
        check(runtime.cudaDeviceGetAttribute(attribute, device))
        for attribute in (attributes.cudaDevAttrComputeCapabilityMajor, attributes.cudaDevAttrComputeCapabilityMinor)
    )
    return f"{major}.{minor}"


def gpu_identity(device: int = 0) -> dict[str, str]:
    """What an engine depends on of a GPU: its name, its compute capability, and the driver's release.

    Where `nvidia-smi` is missing, as on Jetson, the driver is known by the newest CUDA that it takes.

    Raises:
        TensorRtError: there is no driver, or no such GPU.
    """
    capability = compute_capability(device)
    from cuda.bindings import runtime

    name = check(runtime.cudaGetDeviceProperties(device)).name
    gpus = nvidia_gpus()
    driver = gpus[0].driver if gpus else f"CUDA {check(runtime.cudaDriverGetVersion())}"
    return {"gpu": name.decode(errors="replace").rstrip("\0"), "compute_capability": capability, "driver": driver}


class Messages:
    """TensorRT's log: its errors and warnings, to be quoted in our own messages."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def last_error(self) -> str:
        """First line of the latest error."""
        return self.errors[-1].splitlines()[0] if self.errors else "TensorRT gave no reason"

    def logger(self) -> trt.ILogger:
        """A logger that appends to these lists; it must live as long as the object it is given to."""
        import tensorrt as trt

        messages = self

        class _Logger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    messages.errors.append(msg)
                    _LOG.debug("TensorRT error: %s", msg)
                elif severity == trt.ILogger.Severity.WARNING:
                    messages.warnings.append(msg)
                    _LOG.debug("TensorRT warning: %s", msg)

        return _Logger()


def load_plugin(registry: trt.IPluginRegistry, library: Path, messages: Messages) -> None:
    """Register the creators of a plugin library.

    Raises:
        TensorRtError: it is no plugin library, or has no creator of the fusion.
    """
    if registry.load_library(str(library.resolve())) is None:
        raise TensorRtError(
            f"TensorRT cannot load the plugin {library} ({messages.last_error()}); build it for this machine: "
            "geminifusion export plugin --runtime tensorrt"
        )
    if registry.get_creator("PixelwiseFusion", "1", "geminifusion") is None:
        raise TensorRtError(
            f"{library} has no creator of geminifusion::PixelwiseFusion version 1; build the plugin of this release: "
            "geminifusion export plugin --runtime tensorrt"
        )


def deserialize(plan: bytes, runtime: trt.Runtime, messages: Messages, name: str) -> trt.ICudaEngine:
    """Load an engine from its bytes.

    Raises:
        TensorRtError: TensorRT rejects them; quotes its reason.
    """
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise TensorRtError(
            f"TensorRT cannot load {name} ({messages.last_error()}); it was damaged or built for another machine: "
            "build it again"
        )
    return engine


def require_loadable(directory: Path, metadata: ArtifactMetadata, device: int) -> tuple[Path, Path | None]:
    """Check everything that can be checked before an engine is loaded.

    Returns:
        Path of the engine, and of its plugin if it needs one.

    Raises:
        TensorRtError: the artifact has no engine, a file is missing or differs, or TensorRT or the GPU does not fit.
    """
    entry, needs = engine_of(metadata)
    plan = directory / entry.file
    if not plan.is_file():
        raise TensorRtError(f"{plan} is missing; copy the whole artifact again")
    plugin = plugin_of(directory, needs)
    require_version(needs, import_tensorrt().__version__)
    require_capability(needs, compute_capability(device))
    return plan, plugin
