"""What an operator can set: one frozen object; one name on the command line and in the environment.

Both are made from the fields below: `--max-batch`, `GEMINIFUSION_MAX_BATCH`.
Standard library only, so that `geminifusion serve --help` needs nothing installed.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from geminifusion_runtime.backends import BACKENDS, check_backend
from geminifusion_runtime.devices import parse_devices
from geminifusion_runtime.types import SENSOR_POLICIES, Isolation, SensorPolicy

ENVIRONMENT_PREFIX = "GEMINIFUSION_"

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
LOG_FORMATS, LOG_LEVELS = get_args(LogFormat), get_args(LogLevel)
ENGINES = ("local", "ray")
MODEL_CONTROLS = ("automatic", "explicit")
MODEL_EVICTIONS = ("none", "lru")
ISOLATIONS = get_args(Isolation)


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
        default=(), metadata={"help": "Artifact directory; may be repeated. The first is the default model."}
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
    devices: str = _setting(
        "auto",
        "An engine instance on each: cpu, cpu:0-3,cpu:4-7 (cores), cuda:0,cuda:1; auto leaves it to the backend.",
    )
    engine_isolation: Isolation = _setting(
        "thread",
        f"Where an engine runs, one of {', '.join(ISOLATIONS)}; a crash of a process fails its batch and nothing else.",
    )
    max_batch: int = _setting(0, "Most requests run together; 0 finds the best at warm-up.", low=0, high=1024)
    max_batch_pixels: int = _setting(
        10_000_000, "Most pixels run together, a single image excepted; bounds the engine's memory.", low=1
    )
    calibration_s: float = _setting(
        1.0, "Longest to look for the best batch when a model is loaded, beside three single runs.", low=0, high=600
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
    max_inflight_bytes: int = _setting(
        512 * 1024 * 1024, "Most bytes of all requests being worked on; the next is refused with 429.", low=1024
    )
    max_body_bytes: int = _setting(64 * 1024 * 1024, "Most bytes of a request.", low=1024, high=2**31 - 1)
    sensor_policy: SensorPolicy = _setting(
        "warn", f"What to do about a broken sensor, one of {', '.join(SENSOR_POLICIES)}; a request may say otherwise."
    )
    body_timeout_s: float = _setting(30.0, "Longest a request body may take to arrive.", low=0.01)
    decode_workers: int = _setting(
        0,
        "Threads that decode, and as many that encode; 0 uses the cores this process may use.",
        low=0,
        high=1024,
    )
    decode_isolation: Isolation = _setting(
        "thread",
        f"Where images are decoded, one of {', '.join(ISOLATIONS)}; a process per thread is faster beside "
        "an accelerator, and keeps damaged images away from the server.",
    )
    max_streams: int = _setting(64, "Streams of frames open at once, gRPC and WebSocket together.", low=1, high=10_000)
    stream_idle_s: float = _setting(60.0, "A stream ends when no frame has come for this long.", low=0.01)
    drain_s: float = _setting(
        8.0, "Longest to finish accepted requests after SIGTERM; keep it below the supervisor's kill.", low=0
    )
    engine: str = _setting(
        "local", f"Where the work is done, one of {', '.join(ENGINES)}: in this process or in replicas on Ray Serve."
    )
    replicas: int = _setting(1, "With --engine ray: replicas, or the least of them.", low=1, high=1000)
    max_replicas: int = _setting(
        0, "With --engine ray: the most replicas; 0 for a fixed number, else Ray follows the load.", low=0, high=1000
    )
    target_ongoing: float = _setting(
        4.0, "With --engine ray: requests being worked on per replica at which their number is right.", low=0.1
    )
    replica_gpus: float = _setting(0.0, "With --engine ray: GPUs reserved for each replica, or a share of one.", low=0)
    ray_address: str = _setting(
        "", "With --engine ray: a Ray that runs already, as ray.init takes it; empty starts one on this machine."
    )

    head_timeout_s: float = _setting(10.0, "Longest the head of an HTTP request may take to arrive.", low=0.01)
    max_head_bytes: int = _setting(32 * 1024, "Most bytes of the head of an HTTP request.", low=1024, high=2**20)
    max_connections: int = _setting(10_000, "HTTP connections at once; the next is answered 503 and closed.", low=1)
    keep_alive_s: int = _setting(
        75, "How long an idle HTTP connection is kept; longer than the load balancer in front keeps it.", low=1
    )
    drain_delay_s: float = _setting(
        0.0, "After SIGTERM, how long to be not ready and serve on, until load balancers have noticed.", low=0
    )
    api_keys_file: str = _setting(
        "", "TOML file of API keys, their roles and rate limits; by default none are asked for."
    )
    open_metrics: bool = _setting(True, "Whether /metrics needs no API key.")
    tls_certificate: str = _setting("", "PEM file of the server's certificate and its chain; both transports use TLS.")
    tls_key: str = _setting("", "PEM file of the certificate's key.")
    tls_client_ca: str = _setting("", "PEM file of the authorities whose client certificates are asked for (mTLS).")
    cors_origins: str = _setting(
        "", "Web origins that may read answers, separated by commas, as https://example.org; none by default."
    )
    log_format: LogFormat = _setting("text", f"Log lines, one of {', '.join(LOG_FORMATS)}.")
    log_level: LogLevel = _setting("info", f"Least level of log lines, one of {', '.join(LOG_LEVELS)}.")
    access_log: bool = _setting(True, "Log a line for each request.")
    otlp_endpoint: str = _setting(
        "", "Where to send traces, as http://collector:4318/v1/traces (OTLP over HTTP); none by default."
    )
    trace_share: float = _setting(
        1.0, "Share of traces that begin here to record; a caller's own decision wins.", low=0, high=1
    )
    model_repository: str = _setting("", "Folder of artifacts as NAME/VERSION/, beside those given by --artifact.")
    model_control: str = _setting(
        "automatic",
        f"One of {', '.join(MODEL_CONTROLS)}: automatic follows the repository; explicit loads from it only what is "
        "asked for by request, which needs no admin key unless there are keys.",
    )
    model_poll_s: float = _setting(
        5.0, "Time between two looks at the repository; 0 for one at the start only.", low=0, high=86_400
    )
    model_settle_s: float = _setting(
        30.0,
        "How long a version that cannot be loaded may lie unchanged before that is reported: it may be being copied.",
        low=0,
        high=86_400,
    )
    model_versions: int = _setting(1, "Newest versions of each name in the repository kept loaded.", low=1, high=100)
    default_model: str = _setting(
        "", "Model of requests that name none: a name or name@version; by default the first artifact."
    )
    model_memory_mb: int = _setting(0, "Most resident memory of all models together; 0 for no limit.", low=0)
    model_eviction: str = _setting(
        "none",
        f"For a model that does not fit, one of {', '.join(MODEL_EVICTIONS)}: refuse it, or unload the least used.",
    )
    warm_up_sizes: str = _setting("", "Sizes to warm up beside the artifact's own: HEIGHTxWIDTH, separated by commas.")
    canary_interval_s: float = _setting(
        600.0, "Time between two canaries of a model, the first when it is loaded; 0 for none at all.", low=0
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is opened."""
        if not self.artifacts and not self.model_repository:
            raise SettingsError("no artifact given; pass --artifact DIRECTORY or --model-repository DIRECTORY")
        for spec in dataclasses.fields(self):
            low, high = spec.metadata.get("low"), spec.metadata.get("high")
            value = getattr(self, spec.name)
            # `not >=` rather than `<`, so that NaN is refused too
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                expected = f"{low} or more" if high is None else f"{low} to {high}"
                raise SettingsError(f"{spec.name} is {value}, expected {expected}; change {option(spec.name)}")
        try:
            check_backend(self.backend)
        except ValueError as error:
            raise SettingsError(f"{error}; change --backend") from None
        if self.decode_isolation not in ISOLATIONS:
            raise SettingsError(
                f"decode_isolation is {self.decode_isolation!r}, expected one of {', '.join(ISOLATIONS)}; "
                "process decodes in processes of their own"
            )
        if self.engine_isolation not in ISOLATIONS:
            raise SettingsError(
                f"engine_isolation is {self.engine_isolation!r}, expected one of {', '.join(ISOLATIONS)}; "
                "change --engine-isolation"
            )
        try:
            parse_devices(self.devices)
        except ValueError as error:
            raise SettingsError(f"{error}; change --devices") from None
        if self.model_control not in MODEL_CONTROLS:
            raise SettingsError(
                f"model_control is {self.model_control!r}, expected one of {', '.join(MODEL_CONTROLS)}; "
                "change --model-control"
            )
        if self.model_eviction not in MODEL_EVICTIONS:
            raise SettingsError(
                f"model_eviction is {self.model_eviction!r}, expected one of {', '.join(MODEL_EVICTIONS)}; "
                "change --model-eviction"
            )
        try:
            parse_sizes(self.warm_up_sizes)
        except ValueError as error:
            raise SettingsError(f"{error}; change --warm-up-sizes") from None
        if self.engine not in ENGINES:
            raise SettingsError(f"engine is {self.engine!r}, expected one of {', '.join(ENGINES)}; change --engine")
        if self.engine == "ray" and self.model_repository:
            raise SettingsError("replicas on Ray serve fixed artifacts; give --artifact instead of --model-repository")
        for name, choices in (
            ("log_format", LOG_FORMATS),
            ("log_level", LOG_LEVELS),
            ("sensor_policy", SENSOR_POLICIES),
        ):
            if getattr(self, name) not in choices:
                raise SettingsError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(choices)}; change {option(name)}"
                )
        if self.custom_ops and not Path(self.custom_ops).is_file():
            raise SettingsError(f"custom_ops is {self.custom_ops}, which is no file; change --custom-ops")
        if self.http_port == self.grpc_port != 0:
            raise SettingsError(f"http_port and grpc_port are both {self.http_port}; give them different ports")

    @property
    def cors_allowed(self) -> tuple[str, ...]:
        """The web origins of `cors_origins`."""
        return parse_origins(self.cors_origins)


def parse_origins(text: str) -> tuple[str, ...]:
    """The origins of `https://a.org,https://b.org`; `*` for any."""
    return tuple(filter(None, (part.strip().rstrip("/") for part in text.split(","))))


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Height and width of each of `480x640,240x320`.

    Raises:
        ValueError: it does not parse.
    """
    sizes = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", part)
        if match is None:
            raise ValueError(f"a size to warm up is {part!r}, expected HEIGHTxWIDTH, as in 480x640,240x320")
        sizes.append((int(match[1]), int(match[2])))
    return tuple(sizes)


def option(name: str) -> str:
    """The command-line option of a field."""
    return "--artifact" if name == "artifacts" else "--" + name.replace("_", "-")


def environment_variable(name: str) -> str:
    """The environment variable of a field; several artifacts are separated like PATH."""
    return ENVIRONMENT_PREFIX + ("ARTIFACT" if name == "artifacts" else name.upper())
