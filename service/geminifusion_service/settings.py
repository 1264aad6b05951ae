"""What an operator can set: one frozen object; one name on the command line and in the environment.

Both are made from the fields below: `--max-batch`, `GEMINIFUSION_MAX_BATCH`.
Standard library only, so that `geminifusion serve --help` needs nothing installed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENVIRONMENT_PREFIX = "GEMINIFUSION_"
BACKENDS = ("auto", "onnxruntime", "openvino", "openvino-bfloat16", "openvino-int8", "tensorrt")


class SettingsError(ValueError):
    """A setting is out of range; the message names it, its value and the range."""


def _setting(
    default: Any,  # noqa: ANN401 - the field's own annotation says the type
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Any:  # noqa: ANN401
    return field(default=default, metadata={"help": help_text, "low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything `geminifusion serve` can be told. Raises `SettingsError` for a value out of range."""

    artifacts: tuple[Path, ...] = field(
        metadata={"help": "Artifact directory; may be repeated. The first is the default model."}
    )
    host: str = _setting("127.0.0.1", "Address both transports listen on; 0.0.0.0 for every interface.")
    http_port: int = _setting(8000, "HTTP port; 0 takes a free one.", low=0, high=65535)
    grpc_port: int = _setting(8001, "gRPC port; 0 takes a free one.", low=0, high=65535)
    threads: int = _setting(0, "Threads of the engine; 0 uses the cores this process may use.", low=0, high=1024)
    backend: str = _setting(
        "auto",
        f"Runtime, one of {', '.join(BACKENDS)}; auto takes the fastest that keeps the labels.",
    )
    custom_ops: str = _setting(
        "", "Our kernels for ONNX Runtime (geminifusion export plugin --runtime onnxruntime); none by default."
    )
    max_batch: int = _setting(8, "Most requests run together.", low=1, high=1024)
    max_batch_pixels: int = _setting(
        100_000,
        "Most pixels run together, a single image excepted: on a CPU small images gain from company, large ones lose.",
        low=1,
    )
    max_wait_ms: float = _setting(
        0.0,
        "Longest a request waits for company, from the arrival of the first of a batch, "
        "and only while others are being decoded.",
        low=0,
        high=10_000,
    )
    queue_size: int = _setting(64, "Requests being worked on at once; the next is refused with 429.", low=1)
    max_pixels: int = _setting(32_000_000, "Most pixels of a posted image, judged by its header.", low=1)
    max_body_bytes: int = _setting(64 * 1024 * 1024, "Most bytes of a request.", low=1024, high=2**31 - 1)
    body_timeout_s: float = _setting(30.0, "Longest a request body may take to arrive.", low=0.01)
    decode_workers: int = _setting(
        0,
        "Threads that decode, and as many that encode; 0 uses the cores this process may use.",
        low=0,
        high=1024,
    )
    drain_s: float = _setting(
        8.0, "Longest to finish accepted requests after SIGTERM; keep it below the supervisor's kill.", low=0
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is opened."""
        if not self.artifacts:
            raise SettingsError("no artifact given; pass --artifact DIRECTORY")
        for spec in dataclasses.fields(self):
            low, high = spec.metadata.get("low"), spec.metadata.get("high")
            value = getattr(self, spec.name)
            # `not >=` rather than `<`, so that NaN is refused too
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                expected = f"{low} or more" if high is None else f"{low} to {high}"
                raise SettingsError(f"{spec.name} is {value}, expected {expected}; change {option(spec.name)}")
        if self.backend not in BACKENDS:
            raise SettingsError(f"backend is {self.backend!r}, expected one of {', '.join(BACKENDS)}; change --backend")
        if self.custom_ops and not Path(self.custom_ops).is_file():
            raise SettingsError(f"custom_ops is {self.custom_ops}, which is no file; change --custom-ops")
        if self.http_port == self.grpc_port != 0:
            raise SettingsError(f"http_port and grpc_port are both {self.http_port}; give them different ports")


def option(name: str) -> str:
    """The command-line option of a field."""
    return "--artifact" if name == "artifacts" else "--" + name.replace("_", "-")


def environment_variable(name: str) -> str:
    """The environment variable of a field; several artifacts are separated like PATH."""
    return ENVIRONMENT_PREFIX + ("ARTIFACT" if name == "artifacts" else name.upper())
