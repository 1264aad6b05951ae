"""Compiling the fusion's TensorRT plugin, `export/plugin/tensorrt`, with nvcc and TensorRT's headers.

Neither a GPU nor a TensorRT library is needed: the plugin links to neither. It holds machine code for every GPU
generation the compiler knows and an intermediate form for later ones.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geminifusion_export.errors import PluginBuildError

TENSORRT_PLUGIN_NAME = "libgeminifusion_tensorrt.so"
# Compute capabilities, times ten: Turing to Blackwell. 87 and 110 are Jetson Orin and Thor.
ARCHITECTURES = (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121)
NVCC_PACKAGES = ("nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-crt", "nvidia-cuda-runtime", "nvidia-cuda-cccl")
OLDEST_TENSORRT = 10  # the first with IPluginV3
_SOURCES = ("fusion_kernel.cu", "fusion_plugin.cpp", "fusion_plugin_creator.cpp", "library.cpp", "plugin_log.cpp")
_COMPILE_TIMEOUT_S = 1800


@dataclass(frozen=True, kw_only=True)
class Headers:
    """Where the C headers of a library may be installed."""

    library: str
    header: str  # a file in the directory
    variables: tuple[str, ...]  # environment variables that name the directory, or the one above its `include`
    places: tuple[str, ...]  # searched after the variables
    advice: str


TENSORRT_HEADERS = Headers(
    library="TensorRT",
    header="NvInferRuntime.h",
    variables=("GEMINIFUSION_TENSORRT_INCLUDE", "TENSORRT_ROOT", "TRT_ROOT"),
    places=(
        "/usr/include/x86_64-linux-gnu",
        "/usr/include/aarch64-linux-gnu",
        "/usr/include",
        "/usr/local/tensorrt/include",
        "/opt/tensorrt/include",
    ),
    advice=(
        "install TensorRT's development package (libnvinfer-headers-dev), or take the folder include/ of a release of "
        "github.com/NVIDIA/TensorRT, and pass it with --headers"
    ),
)


def build_tensorrt_plugin(
    output: Path, *, architectures: Iterable[int] | None = None, headers: Path | None = None
) -> Path:
    """Compile the plugin into `output`, replacing it when done.

    Args:
        output: the library, or a directory that it is put into as `libgeminifusion_tensorrt.so`.
        architectures: compute capabilities times ten; by default all of `ARCHITECTURES` that the compiler knows.
        headers: the directory with NvInferRuntime.h; searched for if not given (see `find_headers`).

    Returns:
        The library's path.

    Raises:
        PluginBuildError: no compiler, no headers, headers too old, an architecture the compiler does not know, or the
            compiler failed.
    """
    nvcc = find_nvcc()
    include = find_headers(TENSORRT_HEADERS, headers)
    _require_recent_tensorrt(include)
    chosen = choose_architectures(nvcc, architectures)
    library = output / TENSORRT_PLUGIN_NAME if output.is_dir() else output
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        unfinished = Path(scratch) / library.name
        run_compiler(compile_command(nvcc, include, chosen, unfinished))
        unfinished.replace(library)
    return library


def find_headers(wanted: Headers, given: Path | None = None) -> Path:
    """Find the directory that holds `wanted.header`: `given`, or else the first of the variables and usual places.

    Raises:
        PluginBuildError: the header is in none of them.
    """
    if given is not None:
        candidates = [given, given / "include"]
    else:
        named = [Path(os.environ[variable]) for variable in wanted.variables if os.environ.get(variable)]
        candidates = [path for name in named for path in (name, name / "include")]
        candidates += [Path(place) for place in wanted.places]
    for candidate in candidates:
        if (candidate / wanted.header).is_file():
            return candidate
    where = f"in {given}" if given is not None else "in " + ", ".join(map(str, candidates))
    raise PluginBuildError(f"{wanted.library}'s header {wanted.header} is not {where}; {wanted.advice}")


def find_nvcc() -> Path:
    """Find the CUDA compiler: in CUDA_HOME or CUDA_PATH, on the PATH, among Python's packages, or in /usr/local/cuda.

    Raises:
        PluginBuildError: there is none, or not the C++ compiler that it needs.
    """
    homes = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    candidates = [home / "bin" / "nvcc" for home in homes]
    if on_path := shutil.which("nvcc"):
        candidates.append(Path(on_path))
    candidates += _nvcc_of_packages()
    candidates.append(Path("/usr/local/cuda/bin/nvcc"))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            if shutil.which("g++") is None:
                raise PluginBuildError(f"{candidate} needs a C++ compiler; install g++")
            return candidate
    pins = " ".join(f"'{package}==13.0.*'" for package in NVCC_PACKAGES)
    raise PluginBuildError(
        f"there is no CUDA compiler: no nvcc on the PATH, in CUDA_HOME, among Python's packages or in /usr/local/cuda; "
        f"install the CUDA toolkit 12.4 or later, or: pip install {pins}"
    )


def choose_architectures(nvcc: Path, wanted: Iterable[int] | None) -> tuple[int, ...]:
    """`wanted`, or all of `ARCHITECTURES` that this compiler knows, in rising order.

    Raises:
        PluginBuildError: the compiler does not know one that was asked for, or none was.
    """
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    known = {int(code) for code in re.findall(r"\bsm_(\d+)\b", listed.stdout)}
    if not known:
        raise PluginBuildError(f"{nvcc} --list-gpu-code names no GPU: {listed.stderr.strip() or 'it said nothing'}")
    if wanted is None:
        return tuple(architecture for architecture in ARCHITECTURES if architecture in known)
    chosen = tuple(sorted(set(wanted)))
    unknown = [str(architecture) for architecture in chosen if architecture not in known]
    if unknown or not chosen:
        raise PluginBuildError(
            f"architectures are {', '.join(map(str, chosen)) or 'none'}; {nvcc} knows "
            f"{', '.join(map(str, sorted(known)))} (compute capability times ten)"
        )
    return chosen


def compile_command(
    nvcc: Path,
    include: Path,
    architectures: tuple[int, ...],
    output: Path,
    *,
    cudart: Literal["static", "none"] = "static",
) -> list[str]:
    """The command that compiles the plugin: machine code for each architecture, intermediate code for later GPUs.

    Args:
        cudart: `none` leaves CUDA's runtime to the process that loads the library.
    """
    sources = [plugin_sources() / "tensorrt" / name for name in _SOURCES]
    # As a system directory, because TensorRT's headers warn about their own deprecations.
    return [*shared_library_command(nvcc, sources, architectures, output, cudart=cudart), "-isystem", str(include)]


def shared_library_command(
    nvcc: Path,
    sources: Iterable[Path],
    architectures: tuple[int, ...],
    output: Path,
    *,
    cudart: Literal["static", "none"],
) -> list[str]:
    """The command that compiles CUDA sources into a library; see `compile_command`."""
    codes = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in architectures]
    newest = architectures[-1]
    return [
        str(nvcc),
        "-std=c++17",
        "-O2",
        "-shared",
        "--threads=0",
        "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra",
        *codes,
        f"-gencode=arch=compute_{newest},code=compute_{newest}",
        f"-cudart={cudart}",
        # The compiler searches lib64, its Python package has lib.
        f"-L{toolkit_of(nvcc) / 'lib'}",
        *map(str, sources),
        "-o",
        str(output),
    ]


def toolkit_of(nvcc: Path) -> Path:
    """The directory with the `include` and `lib` of a compiler, also if it is reached through a link or a script.

    Raises:
        PluginBuildError: the compiler does not report it.
    """
    dry = subprocess.run([nvcc, "--dryrun", "-c", "none.cu"], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    top = re.search(r"^#\$ TOP=(.+)$", dry.stderr, re.MULTILINE)
    if top is None:
        raise PluginBuildError(f"{nvcc} --dryrun names no toolkit: {dry.stderr.strip() or 'it said nothing'}")
    return Path(top.group(1).strip()).resolve()


def run_compiler(command: list[str]) -> None:
    """Run a compiler to completion.

    Raises:
        PluginBuildError: it failed, with the start of its output, or took more than half an hour.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_COMPILE_TIMEOUT_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise PluginBuildError(f"{command[0]} was stopped after {_COMPILE_TIMEOUT_S} seconds") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[:3000]
        raise PluginBuildError(f"{command[0]} failed with code {done.returncode}:\n{said}")


def plugin_sources() -> Path:
    """The directory with the C++ and CUDA sources: in the installed package, or beside it in a checkout.

    Raises:
        PluginBuildError: it is in neither place.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "plugin_sources", package.parent / "plugin"):
        if (folder / "pixelwise_fusion_math.h").is_file():
            return folder
    raise PluginBuildError(f"the plugin's sources are not beside {package}; install geminifusion again")


def _nvcc_of_packages() -> list[Path]:
    """Compilers installed with pip: `nvidia/cu13/bin/nvcc`, before CUDA 13 `nvidia/cuda_nvcc/bin/nvcc`."""
    spec = importlib.util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations or ()) if spec is not None else []
    return [found for root in roots for found in sorted(Path(root).glob("*/bin/nvcc"), reverse=True)]


def _require_recent_tensorrt(include: Path) -> None:
    version = include / "NvInferVersion.h"
    text = version.read_text() if version.is_file() else ""
    major = re.search(r"#define\s+(?:TRT_MAJOR_ENTERPRISE|NV_TENSORRT_MAJOR)\s+(\d+)", text)
    if major is None:
        raise PluginBuildError(f"{version} names no version; expected TensorRT's headers. {TENSORRT_HEADERS.advice}")
    if int(major.group(1)) < OLDEST_TENSORRT:
        raise PluginBuildError(
            f"the headers in {include} are of TensorRT {major.group(1)}; expected {OLDEST_TENSORRT} or later"
        )
