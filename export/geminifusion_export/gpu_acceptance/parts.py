"""The parts, in the order they run. Their time limits add up to ten minutes."""

from __future__ import annotations

from dataclasses import dataclass

_PACKAGE = "geminifusion_export.gpu_acceptance"


_TORCH = ("torch", 'pip install "geminifusion[export]"')
_ONNX = ("onnx", 'pip install "geminifusion[export]"')
_BOTH = (_TORCH, _ONNX)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part.

    Args:
        module: has the function `examine(report)`.
        limit_s: the longest it may take.
        packages: that it imports, each with how to install it. A GPU all of them need.
    """

    letter: str
    title: str
    module: str
    limit_s: float
    packages: tuple[tuple[str, str], ...] = ()


PARTS = (
    Part(letter="a", title="the plugin's kernels", module=f"{_PACKAGE}.kernels", limit_s=60.0, packages=(_TORCH,)),
    Part(letter="b", title="inference in torch", module=f"{_PACKAGE}.inference", limit_s=150.0, packages=_BOTH),
    Part(letter="c", title="training in torch", module=f"{_PACKAGE}.training", limit_s=90.0, packages=_BOTH),
    Part(
        letter="d",
        title="the service under load",
        module=f"{_PACKAGE}.service",
        limit_s=110.0,
        packages=(*_BOTH, ("fastapi", 'pip install "geminifusion[service]"')),
    ),
    Part(
        letter="e",
        title="ONNX Runtime CUDA",
        module=f"{_PACKAGE}.onnx_runtime",
        limit_s=40.0,
        packages=(("onnxruntime", 'pip install "geminifusion[gpu]"'),),
    ),
    Part(
        letter="f",
        title="TensorRT",
        module=f"{_PACKAGE}.tensorrt_engine",
        limit_s=90.0,
        packages=(("tensorrt", 'pip install "geminifusion[tensorrt]"'), _ONNX),
    ),
    Part(
        letter="g",
        title="TensorRT for RTX",
        module=f"{_PACKAGE}.tensorrt_rtx",
        limit_s=40.0,
        packages=(_TORCH, ("tensorrt_rtx", "pip install tensorrt-rtx-cu13")),
    ),
    Part(
        letter="h",
        title="decoding on the GPU",
        module=f"{_PACKAGE}.decoding",
        limit_s=20.0,
        packages=(("nvidia.nvimgcodec", "pip install nvidia-nvimgcodec-cu13 nvidia-nvjpeg"),),
    ),
)
LETTERS = tuple(part.letter for part in PARTS)


def chosen_parts(letters: tuple[str, ...]) -> tuple[Part, ...]:
    """The parts of these letters; all of them if none is named."""
    return tuple(part for part in PARTS if not letters or part.letter in letters)
