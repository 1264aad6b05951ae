"""The fusion's CUDA kernels as a library of their own: compiled for one GPU, launched from Python without TensorRT."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from geminifusion_export.errors import PluginBuildError
from geminifusion_export.kernels.plugin_build import (
    choose_architectures,
    find_nvcc,
    plugin_sources,
    run_compiler,
    shared_library_command,
)

KERNEL_LIBRARY_NAME = "libgeminifusion_kernels.so"
ELEMENTS = {"float32": 0, "float16": 1, "bfloat16": 2}
_SOURCES = ("fusion_kernel.cu", "kernel_library.cpp")


class KernelLaunchError(RuntimeError):
    """CUDA did not take a launch; the message is CUDA's."""


def build_kernel_library(
    folder: Path,
    architecture: int,
    *,
    cudart: Literal["static", "none"] = "static",
    more: Sequence[str] = (),
) -> Path:
    """Compile the kernels into `folder`; needs nvcc, but neither a GPU nor TensorRT's headers.

    Args:
        architecture: compute capability times ten.
        cudart: `none` leaves CUDA's runtime to the process that loads the library.
        more: arguments for the compiler.

    Returns:
        The library's path.

    Raises:
        PluginBuildError: no compiler, it does not know the architecture, or it failed.
    """
    nvcc = find_nvcc()
    chosen = choose_architectures(nvcc, [architecture])
    sources = [plugin_sources() / "tensorrt" / name for name in _SOURCES]
    library = folder / KERNEL_LIBRARY_NAME
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        unfinished = Path(scratch) / library.name
        run_compiler([*shared_library_command(nvcc, sources, chosen, unfinished, cudart=cudart), *more])
        return unfinished.replace(library)


class KernelLibrary:
    """A compiled library, loaded into this process.

    Raises:
        PluginBuildError: it cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            raise PluginBuildError(f"{path} cannot be loaded ({error}); compile it on this machine") from None
        self._fuse = library.geminifusion_pixelwise_fusion
        self._fuse.argtypes = [ctypes.c_int32, ctypes.c_int64, ctypes.c_int32, *[ctypes.c_void_p] * 6]
        self._fuse.restype = ctypes.c_int32
        self._text = library.geminifusion_error_text
        self._text.argtypes, self._text.restype = [ctypes.c_int32], ctypes.c_char_p

    def fuse(self, element: str, rows: int, head_dim: int, pointers: Sequence[int], stream: int) -> None:
        """Launch the op on dense device tensors `rows head_dim`; returns before it has run.

        Args:
            element: `float32`, `float16` or `bfloat16`.
            rows: heads of all tokens together.
            pointers: of q, k_diff, v_self, v_cross and the result.
            stream: CUDA's handle of it.

        Raises:
            KernelLaunchError: CUDA refused it.
        """
        if code := self._fuse(ELEMENTS[element], rows, head_dim, *pointers, stream):
            said = self._text(code).decode()
            raise KernelLaunchError(f"{rows} rows of {head_dim} {element} were not launched: {said}")
