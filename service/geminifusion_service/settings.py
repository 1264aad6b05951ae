"""Settings of `geminifusion serve`: frozen groups, each for the components that need it.

Every setting has one name: the field `max_batch` is the option `--max-batch`, the environment variable
`GEMINIFUSION_MAX_BATCH` and `max_batch` in a TOML file. A field says all there is to know of a setting (type, default,
range, help); command line, checks and reference pages are made from it. A new setting is a field of a group.

Standard library only, so that `geminifusion serve --help` comes at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from geminifusion_runtime.backends import BACKENDS, check_backend
from geminifusion_runtime.devices import parse_devices
from geminifusion_runtime.types import Isolation, SensorPolicy

ENVIRONMENT_PREFIX = "GEMINIFUSION_"

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
Executor = Literal["local", "ray"]
ModelControl = Literal["automatic", "explicit"]
ModelEviction = Literal["none", "lru"]


class SettingsError(ValueError):
    """A setting is out of range; the message names it, its value and the range."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All there is to know of one setting.

    Args:
        name: of the field, and in a TOML file.
        group: name of the field of `Settings` that has it.
        default: its value where nothing is said.
        help: one sentence for the operator.
        choices: the values it may have; empty where they cannot be listed.
        low, high: range of a number, both included; None for no limit.
        suggestions: values for shells to complete, where others are possible too.
        is_path: whether it names a file or a folder.
        check: raises ValueError for a text that cannot be used.
    """

    name: str
    group: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    suggestions: Sequence[str] = ()
    is_path: bool = False
    check: Callable[[str], object] | None = None

    @property
    def option(self) -> str:
        """The option on the command line."""
        return option(self.name)

    @property
    def environment_variable(self) -> str:
        """The environment variable."""
        return environment_variable(self.name)

    @property
    def expected(self) -> str:
        """The values it may have, in words; empty for any of its type."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is None and self.high is None:
            return ""
        return f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"

    def require(self, value: Any) -> None:  # noqa: ANN401 - of the field's own type
        """Raise SettingsError unless the setting may have this value."""
        try:
            if self.check is not None:
                self.check(value)
        except ValueError as error:
            raise SettingsError(f"{error}; change {self.option}") from None
        # `>=` and `<=` rather than `<` and `>`, so that NaN is rejected too
        in_range = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        if not in_range or (self.choices and value not in self.choices):
            shown = repr(value) if self.choices else value
            raise SettingsError(f"{self.name} is {shown}, expected {self.expected}; change {self.option}")


def _setting(
    default: Any,  # noqa: ANN401 - the field's own annotation says the type
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    suggestions: Sequence[str] = (),
    is_path: bool = False,
    check: Callable[[str], object] | None = None,
) -> Any:  # noqa: ANN401
    facts = {"low": low, "high": high, "suggestions": suggestions, "is_path": is_path, "check": check}
    return field(default=default, metadata={"help": help_text, **facts})


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


def _require_file(text: str) -> None:
    if text and not Path(text).is_file():
        raise ValueError(f"custom_ops is {text}, which is no file")


class _Group:
    """Checks every field. The docstring of a group is the heading of its section in `--help`."""

    def __post_init__(self) -> None:
        for setting in ALL_SETTINGS:
            if GROUPS[setting.group] is type(self):
                setting.require(getattr(self, setting.name))


@dataclass(frozen=True, kw_only=True)
class ModelSettings(_Group):
    """Models and the model repository"""

    artifacts: tuple[Path, ...] = _setting(
        (), "Artifact directory; may be repeated, the first is the default model.", is_path=True
    )
    model_repository: str = _setting(
        "", "Folder of artifacts as NAME/VERSION/, beside those given by --artifact.", is_path=True
    )
    model_control: ModelControl = _setting(
        "automatic",
        "automatic follows the repository; explicit loads from it only what requests ask for, which need no admin key "
        "unless there are keys.",
    )
    model_poll_s: float = _setting(
        5.0, "Time between two polls of the repository; 0 for one at the start only.", low=0, high=86_400
    )
    model_settle_s: float = _setting(
        30.0,
        "How long a version that cannot be loaded may stay unchanged before that is reported: it may still be being "
        "copied.",
        low=0,
        high=86_400,
    )
    model_versions: int = _setting(1, "Newest versions of each name in the repository kept loaded.", low=1, high=100)
    default_model: str = _setting(
        "", "Model of requests that name none: a name or name@version; by default the first artifact."
    )
    model_memory_mb: int = _setting(0, "Most resident memory of all models together; 0 for no limit.", low=0)
    model_eviction: ModelEviction = _setting(
        "none", "What to do about a model that does not fit: none rejects it, lru unloads the least recently used."
    )
    warm_up_sizes: str = _setting(
        "", "Sizes to warm up beside the artifact's own: HEIGHTxWIDTH, separated by commas.", check=parse_sizes
    )
    self_test_interval_s: float = _setting(
        600.0, "Time between two self-tests of a model, the first when it is loaded; 0 for none at all.", low=0
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings(_Group):
    """Inference runtime and devices"""

    backend: str = _setting(
        "auto",
        f"Runtime, one of {', '.join(BACKENDS)}; auto takes the fastest that keeps the labels.",
        suggestions=BACKENDS,
        check=check_backend,
    )
    devices: str = _setting(
        "auto",
        "One engine instance on each: cpu, cpu:0-3,cpu:4-7 (cores), cuda:0,cuda:1; auto leaves it to the backend.",
        suggestions=("auto", "cpu", "cuda:0"),
        check=parse_devices,
    )
    threads: int = _setting(0, "Threads of the engine; 0 uses the cores this process may use.", low=0, high=1024)
    engine_isolation: Isolation = _setting(
        "thread", "Where an engine runs; a crash of a process fails its batch and nothing else."
    )
    custom_ops: str = _setting(
        "",
        "Our kernels for ONNX Runtime (geminifusion export plugin --runtime onnxruntime); none by default.",
        is_path=True,
        check=_require_file,
    )


@dataclass(frozen=True, kw_only=True)
class BatchingSettings(_Group):
    """Dynamic batching"""

    max_batch: int = _setting(0, "Most requests in a batch; 0 finds the best number at warm-up.", low=0, high=1024)
    max_batch_pixels: int = _setting(
        10_000_000, "Most pixels in a batch, a single image excepted; bounds the engine's memory.", low=1
    )
    max_wait_ms: float = _setting(
        0.0,
        "Longest a batch waits for more requests, from the arrival of its first, and only while others are being "
        "decoded.",
        low=0,
        high=10_000,
    )
    batch_tuning_s: float = _setting(
        1.0,
        "Longest to search for the best batch size when a model is loaded, beside three single runs.",
        low=0,
        high=600,
    )


@dataclass(frozen=True, kw_only=True)
class DecodingSettings(_Group):
    """Decoding and encoding"""

    decode_workers: int = _setting(
        0,
        "Threads or processes that decode, and as many threads that encode; 0 uses the cores this process may use.",
        low=0,
        high=1024,
    )
    decode_isolation: Isolation = _setting(
        "thread",
        "Where images are decoded; a process per worker is faster beside an accelerator, and keeps damaged images away "
        "from the server.",
    )
    sensor_policy: SensorPolicy = _setting(
        "warn", "What to do about a broken sensor; a request may choose another policy."
    )


@dataclass(frozen=True, kw_only=True)
class LimitSettings(_Group):
    """Limits on requests and streams"""

    queue_size: int = _setting(64, "Requests in flight at once; the next is rejected with 429.", low=1)
    max_pixels: int = _setting(32_000_000, "Most pixels of an image, judged by its header.", low=1)
    max_body_bytes: int = _setting(64 * 1024 * 1024, "Most bytes of a request.", low=1024, high=2**31 - 1)
    max_inflight_bytes: int = _setting(
        512 * 1024 * 1024, "Most bytes of all requests in flight; the next is rejected with 429.", low=1024
    )
    body_timeout_s: float = _setting(30.0, "Longest a request body may take to arrive.", low=0.01)
    max_streams: int = _setting(64, "Streams of frames open at once, gRPC and WebSocket together.", low=1, high=10_000)
    stream_idle_s: float = _setting(60.0, "A stream ends when no frame has come for this long.", low=0.01)


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(_Group):
    """Addresses, connections and shutdown"""

    host: str = _setting("127.0.0.1", "Address both transports listen on; 0.0.0.0 for every interface.")
    http_port: int = _setting(8000, "HTTP port; 0 takes a free one.", low=0, high=65535)
    grpc_port: int = _setting(8001, "gRPC port; 0 takes a free one.", low=0, high=65535)
    max_connections: int = _setting(10_000, "HTTP connections at once; the next is answered 503 and closed.", low=1)
    keep_alive_s: int = _setting(
        75, "How long an idle HTTP connection is kept; longer than the load balancer in front keeps it.", low=1
    )
    head_timeout_s: float = _setting(10.0, "Longest the headers of an HTTP request may take to arrive.", low=0.01)
    max_head_bytes: int = _setting(32 * 1024, "Most bytes of the headers of an HTTP request.", low=1024, high=2**20)
    drain_s: float = _setting(
        8.0, "Longest to finish accepted requests after SIGTERM; keep it below the supervisor's kill.", low=0
    )
    drain_delay_s: float = _setting(
        0.0, "After SIGTERM, how long to be not ready and serve on, until load balancers have noticed.", low=0
    )

    def __post_init__(self) -> None:
        """Check the fields, and that the ports differ."""
        super().__post_init__()
        if self.http_port == self.grpc_port != 0:
            raise SettingsError(f"http_port and grpc_port are both {self.http_port}; give them different ports")


@dataclass(frozen=True, kw_only=True)
class SecuritySettings(_Group):
    """API keys, TLS and CORS"""

    api_keys_file: str = _setting(
        "", "TOML file of API keys, their roles and rate limits; by default none are required.", is_path=True
    )
    open_metrics: bool = _setting(True, "Whether /metrics needs no API key.")
    tls_certificate: str = _setting(
        "", "PEM file of the server's certificate and its chain; both transports use TLS.", is_path=True
    )
    tls_key: str = _setting("", "PEM file of the certificate's key.", is_path=True)
    tls_client_ca: str = _setting(
        "", "PEM file of the authorities whose client certificates are required (mTLS).", is_path=True
    )
    cors_origins: str = _setting(
        "", "Web origins that may read responses, separated by commas, as https://example.org; none by default."
    )

    @property
    def cors_allowed(self) -> tuple[str, ...]:
        """The web origins of `cors_origins`."""
        return parse_origins(self.cors_origins)


@dataclass(frozen=True, kw_only=True)
class ObservabilitySettings(_Group):
    """Logs and traces"""

    log_format: LogFormat = _setting("text", "Format of log lines.")
    log_level: LogLevel = _setting("info", "Least level of log lines.")
    access_log: bool = _setting(True, "Log a line for each request.")
    otlp_endpoint: str = _setting(
        "", "Where to send traces, as http://collector:4318/v1/traces (OTLP over HTTP); none by default."
    )
    trace_share: float = _setting(
        1.0, "Share of traces that begin here to record; a caller's own decision wins.", low=0, high=1
    )


@dataclass(frozen=True, kw_only=True)
class RaySettings(_Group):
    """Replicas on Ray Serve"""

    executor: Executor = _setting("local", "Where requests run: in this process, or in replicas on Ray Serve.")
    replicas: int = _setting(1, "With --executor ray: replicas, or the least of them.", low=1, high=1000)
    max_replicas: int = _setting(
        0, "With --executor ray: the most replicas; 0 for a fixed number, else Ray follows the load.", low=0, high=1000
    )
    target_ongoing: float = _setting(
        4.0, "With --executor ray: requests in flight per replica at which their number is right.", low=0.1
    )
    replica_gpus: float = _setting(
        0.0, "With --executor ray: GPUs reserved for each replica, or a share of one.", low=0
    )
    ray_address: str = _setting(
        "", "With --executor ray: a running Ray, as ray.init takes it; empty starts one on this machine."
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything `geminifusion serve` can be told, in groups.

    Raises:
        SettingsError: settings that are valid each for itself and not together.
    """

    models: ModelSettings = field(default_factory=ModelSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    batching: BatchingSettings = field(default_factory=BatchingSettings)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    observability: ObservabilitySettings = field(default_factory=ObservabilitySettings)
    ray: RaySettings = field(default_factory=RaySettings)

    def __post_init__(self) -> None:
        """Reject what cannot work together before anything is opened."""
        if not self.models.artifacts and not self.models.model_repository:
            raise SettingsError("no artifact given; pass --artifact DIRECTORY or --model-repository DIRECTORY")
        if self.ray.executor == "ray" and self.models.model_repository:
            raise SettingsError("replicas on Ray serve fixed artifacts; give --artifact instead of --model-repository")

    @classmethod
    def of(cls, **values: Any) -> Settings:  # noqa: ANN401 - each of its field's own type
        """Settings by their names, whatever groups they are in: `Settings.of(max_batch=4, http_port=0)`.

        Raises:
            SettingsError: a value out of range, or values that cannot work together.
            TypeError: no setting has this name.
        """
        known = {setting.name: setting.group for setting in ALL_SETTINGS}
        grouped: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
        for name, value in values.items():
            if name not in known:
                raise TypeError(f"there is no setting {name!r}")
            grouped[known[name]][name] = value
        groups: dict[str, Any] = {group: GROUPS[group](**chosen) for group, chosen in grouped.items()}
        return cls(**groups)


def _settings_of(group: str, fields: type[_Group]) -> Iterator[Setting]:
    types = get_type_hints(fields)
    for spec in dataclasses.fields(fields):  # type: ignore[arg-type]  # every group is a dataclass
        choices = get_args(types[spec.name]) if get_origin(types[spec.name]) is Literal else ()
        yield Setting(name=spec.name, group=group, default=spec.default, choices=choices, **spec.metadata)


GROUPS: Final[dict[str, type[_Group]]] = get_type_hints(Settings)
ALL_SETTINGS: Final = tuple(setting for group, fields in GROUPS.items() for setting in _settings_of(group, fields))


def group_heading(group: str) -> str:
    """Heading of a group, for `--help` and the reference."""
    return GROUPS[group].__doc__ or group


def option(name: str) -> str:
    """The command-line option of a field."""
    return "--artifact" if name == "artifacts" else "--" + name.replace("_", "-")


def environment_variable(name: str) -> str:
    """The environment variable of a field; several artifacts are separated like PATH."""
    return ENVIRONMENT_PREFIX + ("ARTIFACT" if name == "artifacts" else name.upper())
