"""Backends: one protocol, one class per inference runtime, and the choice among them.

The names below are what `--backend` takes. Standard library only: `geminifusion serve --help` imports this module.
Everything here that needs a GPU is tested against stand-ins for CUDA and TensorRT and has not yet run on a GPU.

`torch` and its half precisions come from another package. What follows a colon is the checkpoint to run in place of
the artifact's network: `torch:runs/b0/final`, `torch-float16:runs/b0/final`.
"""

from __future__ import annotations

_TORCH = ("torch", "torch-bfloat16", "torch-float16")
BACKENDS = (
    "auto",
    "onnxruntime",
    "onnxruntime-cuda",
    "openvino",
    "openvino-bfloat16",
    "openvino-int8",
    "tensorrt",
    *_TORCH,
)


def check_backend(name: str) -> None:
    """Raise ValueError unless `name` is one of `BACKENDS`, or one of torch's with the checkpoint to run."""
    runtime, colon, _ = name.partition(":")
    if name not in BACKENDS and not (colon and runtime in _TORCH):
        raise ValueError(f"backend is {name!r}; expected one of {', '.join(BACKENDS)} or torch:CHECKPOINT")
