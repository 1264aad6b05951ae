"""Backends: one protocol, one class per inference runtime, and the choice among them.

The names below are what `--backend` takes. Standard library only: `geminifusion serve --help` imports this module.
Everything here that needs a GPU is tested against stand-ins for CUDA and TensorRT and has not yet run on a GPU.
"""

from __future__ import annotations

BACKENDS = ("auto", "onnxruntime", "onnxruntime-cuda", "openvino", "openvino-bfloat16", "openvino-int8", "tensorrt")


def check_backend(name: str) -> None:
    """Raise ValueError unless `name` is one of `BACKENDS` or `torch:CHECKPOINT`, which is for development."""
    if name not in BACKENDS and not name.startswith("torch:"):
        raise ValueError(f"backend is {name!r}; expected one of {', '.join(BACKENDS)} or torch:CHECKPOINT")
