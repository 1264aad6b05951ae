"""What this machine can run, and what is missing for the rest. Probing only: nothing is built, nothing raises."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from geminifusion_export.errors import PluginBuildError, first_line
from geminifusion_export.kernels.ops_build import find_compiler
from geminifusion_export.kernels.plugin_build import TENSORRT_HEADERS, find_headers, find_nvcc
from geminifusion_runtime import strict_json
from geminifusion_runtime.backends.openvino import run_in_fresh_thread
from geminifusion_runtime.machine import Machine, describe_machine
from geminifusion_runtime.onnx_runtime_packages import mixture_problem

_TIMEOUT_S = 20.0
_PRODUCTS = {
    "bfloat16": ("amx_bf16", "avx512_bf16"),
    "int8": ("amx_int8", "avx512_vnni", "avx_vnni"),
}


@dataclass(frozen=True, kw_only=True)
class Capability:
    """One thing this machine can do, or cannot.

    Args:
        name: of the capability.
        works: whether it can be used here.
        detail: version and findings, or why it does not work.
        advice: what to do about it; None where it works or nothing can be done.
    """

    name: str
    works: bool
    detail: str
    advice: str | None = None

    def __str__(self) -> str:
        """One line."""
        advice = "" if self.advice is None else f"; {self.advice}"
        return f"{'yes' if self.works else 'no':<4}{self.name:<26}{self.detail}{advice}"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The machine and its capabilities."""

    machine: Machine
    capabilities: tuple[Capability, ...]

    def to_json(self) -> str:
        """The diagnosis as a JSON object."""
        return strict_json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """The machine, then a line per capability."""
        machine = self.machine
        memory = "" if machine.memory_gib is None else f", {machine.memory_gib} GiB"
        head = f"{machine.cpu}, {machine.threads} usable threads{memory}; {machine.system}; Python {machine.python}"
        return "\n".join([head, *map(str, self.capabilities)])


def diagnose() -> Diagnosis:
    """Probe everything; a probe that raises is reported as not working."""
    machine = describe_machine()
    probes: dict[str, Callable[[], Capability]] = {
        "bfloat16 on this CPU": lambda: _fast_products(machine, "bfloat16"),
        "int8 on this CPU": lambda: _fast_products(machine, "int8"),
        "ONNX Runtime (CPU)": _onnx_runtime,
        "ONNX Runtime kernels": _custom_ops,
        "ONNX Runtime (CUDA)": lambda: _cuda_provider(machine),
        "OpenVINO": _openvino,
        "NVIDIA GPU": lambda: _gpu(machine),
        "TensorRT": lambda: _tensorrt(machine),
        "TensorRT plugin build": _plugin_build,
        "export from a checkpoint": _torch_export,
        "INT8 calibration": lambda: _package("INT8 calibration", "nncf", "openvino-int8"),
    }
    return Diagnosis(machine=machine, capabilities=tuple(_probed(name, probe) for name, probe in probes.items()))


def _probed(name: str, probe: Callable[[], Capability]) -> Capability:
    try:
        return probe()
    except Exception as error:  # a broken library is a finding
        return Capability(name=name, works=False, detail=f"{type(error).__name__}: {first_line(error)}")


def _fast_products(machine: Machine, precision: str) -> Capability:
    name = f"{precision} on this CPU"
    found = [feature for feature in _PRODUCTS[precision] if feature in machine.cpu_features]
    if found:
        return Capability(name=name, works=True, detail=f"in hardware: {' '.join(found)}")
    wanted = " or ".join(_PRODUCTS[precision])
    return Capability(
        name=name, works=False, detail=f"the CPU has no {wanted}", advice="float32 is the faster choice here"
    )


def _onnx_runtime() -> Capability:
    name = "ONNX Runtime (CPU)"
    if not _installed("onnxruntime"):
        return _missing(name, "onnxruntime", "service")
    if problem := mixture_problem():
        return Capability(name=name, works=False, detail=problem)
    import onnxruntime as ort

    providers = ", ".join(ort.get_available_providers())
    return Capability(name=name, works=True, detail=f"{ort.__version__}; providers: {providers}")


def _custom_ops() -> Capability:
    name = "ONNX Runtime kernels"
    try:
        compiler = find_compiler()
    except PluginBuildError as error:
        return Capability(
            name=name, works=False, detail=first_line(error), advice="the same model runs without them, a little slower"
        )
    return Capability(
        name=name,
        works=True,
        detail=f"can be built with {compiler}: geminifusion export plugin --runtime onnxruntime",
    )


def _cuda_provider(machine: Machine) -> Capability:
    name = "ONNX Runtime (CUDA)"
    if not _installed("onnxruntime"):
        return _missing(name, "onnxruntime", "service")
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        command = 'run: pip uninstall -y onnxruntime && pip install "geminifusion[service-gpu]"'
        advice = command if machine.gpus else None
        return Capability(name=name, works=False, detail="this build of ONNX Runtime has no CUDA", advice=advice)
    if not machine.gpus:
        return Capability(name=name, works=False, detail="built with CUDA, but there is no GPU here")
    return Capability(name=name, works=True, detail=f"on {machine.gpus[0].name}")


def _openvino() -> Capability:
    found = _package("OpenVINO", "openvino", "openvino")
    if not found.works:
        return found
    import openvino

    core = openvino.Core()
    devices = ", ".join(run_in_fresh_thread(lambda: core.available_devices))
    return Capability(name="OpenVINO", works=True, detail=f"{found.detail}; devices: {devices}")


def _gpu(machine: Machine) -> Capability:
    name = "NVIDIA GPU"
    if not machine.gpus:
        reason = "nvidia-smi names no GPU" if shutil.which("nvidia-smi") else "no NVIDIA driver (nvidia-smi not found)"
        return Capability(name=name, works=False, detail=reason)
    gpus = "; ".join(f"{g.name}, compute {g.compute_capability}, driver {g.driver}" for g in machine.gpus)
    return Capability(name=name, works=True, detail=gpus)


def _tensorrt(machine: Machine) -> Capability:
    name = "TensorRT"
    if not _installed("tensorrt"):
        return _missing(name, "tensorrt", "tensorrt")
    # In a process of its own: a library that does not fit its driver may end the process that loads it.
    program = "import tensorrt; print(tensorrt.__version__)"
    output = subprocess.run(  # noqa: S603 - our own interpreter on a fixed line
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if output.returncode != 0:
        why = next(reversed(output.stderr.strip().splitlines()), f"exit status {output.returncode}")
        advice = "install the libraries of the same version: pip install --force-reinstall tensorrt-cu13"
        return Capability(name=name, works=False, detail=f"installed, but does not load ({why})", advice=advice)
    version = output.stdout.strip()
    if not _loads("libcuda.so.1"):
        return Capability(
            name=name,
            works=False,
            detail=f"{version} loads, but libcuda.so.1 (the NVIDIA driver) is not here: no engine can run",
        )
    if not machine.gpus:
        return Capability(name=name, works=False, detail=f"{version} loads, but there is no GPU")
    return Capability(name=name, works=True, detail=f"{version} on {machine.gpus[0].name}")


def _plugin_build() -> Capability:
    name = "TensorRT plugin build"
    try:
        nvcc, headers = find_nvcc(), find_headers(TENSORRT_HEADERS)
    except PluginBuildError as error:
        detail = first_line(error)
        return Capability(name=name, works=False, detail=detail, advice="a machine that only serves needs none of it")
    return Capability(name=name, works=True, detail=f"nvcc {nvcc}, headers in {headers}")


def _torch_export() -> Capability:
    name = "export from a checkpoint"
    versions = []
    for package in ("torch", "onnx", "onnxscript"):
        found = _package(name, package, "export")
        if not found.works:
            return found
        versions.append(f"{package} {found.detail}")
    return Capability(name=name, works=True, detail=", ".join(versions))


def _package(name: str, package: str, extra: str) -> Capability:
    if not _installed(package):
        return _missing(name, package, extra)
    try:
        return Capability(name=name, works=True, detail=importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return Capability(name=name, works=True, detail="version unknown")


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a package that is half there
        return False


def _missing(name: str, package: str, extra: str) -> Capability:
    return Capability(
        name=name,
        works=False,
        detail=f"{package} is not installed",
        advice=f'run: pip install "geminifusion[{extra}]"',
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
