"""What an operator may ask for as a backend; standard library only, like the settings."""

from __future__ import annotations

BACKENDS = ("auto", "onnxruntime", "onnxruntime-cuda", "openvino", "openvino-bfloat16", "openvino-int8", "tensorrt")


def check_backend(name: str) -> None:
    """Raise ValueError unless it is one of `BACKENDS` or `torch:CHECKPOINT`, which is for development."""
    if name not in BACKENDS and not name.startswith("torch:"):
        raise ValueError(f"backend is {name!r}; expected one of {', '.join(BACKENDS)} or torch:CHECKPOINT")
