"""Settings of `geminifusion serve`: frozen groups, each for the components that need it.

Every setting has one name: the field `max_batch` is the option `--max-batch`, the environment variable
`GEMINIFUSION_MAX_BATCH` and `max_batch` in a TOML file. A field says all there is to know of a setting (type, default,
range, help); command line, checks and reference pages are made from it. A new setting is a field of a group.

Standard library only, so that `geminifusion serve --help` comes at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

from geminifusion_runtime.backends import BACKENDS, check_backend
from geminifusion_runtime.devices import parse_devices
from geminifusion_runtime.types import DEFAULT_SENSOR_POLICY, Isolation, SensorPolicy
from geminifusion_service.origins import parse_origins
from geminifusion_service.setting_fields import SettingsError, SettingsGroup, setting, settings_of

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
Executor = Literal["local", "ray"]
ModelControl = Literal["automatic", "explicit"]
ModelEviction = Literal["none", "lru"]
EngineTarget = Literal["tensorrt", "openvino"]


def parse_hosts(text: str) -> tuple[str, ...]:
    """The names of `seg.example.org,10.0.0.5`; `*` for any.

    Raises:
        ValueError: one of them is no name.
    """
    names = tuple(filter(None, (part.strip() for part in text.split(","))))
    for name in names:
        if not re.fullmatch(r"[0-9A-Za-z_.-]+|[0-9A-Fa-f:.]+|\*", name):
            raise ValueError(
                f"an allowed host is {name!r}, expected a name or address without scheme and port, as seg.example.org"
            )
    return names


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


def _require_artifact(text: str) -> None:
    if text and not Path(text).is_dir():
        raise ValueError(f"synthesizer is {text}, which is no directory")


def _require_plugin_file(text: str) -> None:
    if text and not Path(text).is_file():
        raise ValueError(f"engine_plugin is {text}, which is no file")


def _require_keys_file(text: str) -> None:
    if text and not Path(text).is_file():
        raise ValueError(f"trusted_keys is {text}, which is no file")


@dataclass(frozen=True, kw_only=True)
class ModelSettings(SettingsGroup):
    """Models and the model repository"""

    artifacts: tuple[Path, ...] = setting(
        (), "Artifact directory; may be repeated, the first is the default model.", is_path=True
    )
    synthesizer: str = setting(
        "",
        "Artifact directory of a translator that makes the modality that a request lacks, as depth from rgb, where "
        "--sensor-policy or the request says synthesize; none by default.",
        is_path=True,
        check=_require_artifact,
    )
    model_repository: str = setting(
        "", "Folder of artifacts as NAME/VERSION/, beside those given by --artifact.", is_path=True
    )
    model_control: ModelControl = setting(
        "automatic",
        "automatic follows the repository; explicit loads from it only what requests ask for, which need no admin key "
        "unless there are keys.",
    )
    model_poll_s: float = setting(
        5.0, "Time between two polls of the repository; 0 for one at the start only.", low=0, high=86_400
    )
    model_settle_s: float = setting(
        30.0,
        "How long a version that cannot be loaded may stay unchanged before that is reported: it may still be being "
        "copied.",
        low=0,
        high=86_400,
    )
    model_versions: int = setting(1, "Newest versions of each name in the repository kept loaded.", low=1, high=100)
    default_model: str = setting(
        "", "Model of requests that name none: a name or name@version; by default the first artifact."
    )
    model_memory_mb: int = setting(0, "Most resident memory of all models together; 0 for no limit.", low=0)
    model_eviction: ModelEviction = setting(
        "none", "What to do about a model that does not fit: none rejects it, lru unloads the least recently used."
    )
    warm_up_sizes: str = setting(
        "", "Sizes to warm up beside the artifact's own: HEIGHTxWIDTH, separated by commas.", check=parse_sizes
    )
    trusted_keys: str = setting(
        "",
        "File of Ed25519 public keys in PEM; only artifacts that one of them signed (geminifusion sign) are served. By "
        "default none need to be signed.",
        is_path=True,
        check=_require_keys_file,
    )
    self_test_interval_s: float = setting(
        600.0, "Time between two self-tests of a model, the first when it is loaded; 0 for none at all.", low=0
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings(SettingsGroup):
    """Inference runtime and devices"""

    backend: str = setting(
        "auto",
        f"Runtime, one of {', '.join(BACKENDS)}; auto takes the fastest that keeps the labels.",
        suggestions=BACKENDS,
        check=check_backend,
    )
    devices: str = setting(
        "auto",
        "One engine instance on each: cpu, cpu:0-3,cpu:4-7 (cores), cuda:0,cuda:1; auto leaves it to the backend.",
        suggestions=("auto", "cpu", "cuda:0"),
        check=parse_devices,
    )
    threads: int = setting(0, "Threads of the engine; 0 uses the cores this process may use.", low=0, high=1024)
    engine_isolation: Isolation = setting(
        "thread", "Where an engine runs; a crash of a process fails its batch and nothing else."
    )
    custom_ops: str = setting(
        "",
        "Our kernels for ONNX Runtime (geminifusion export plugin --runtime onnxruntime); none by default.",
        is_path=True,
        check=_require_file,
    )
    engine_cache: str = setting(
        "",
        "Folder for engines built on this machine, beside serving: at the first start one is built for each model, "
        "verified, and takes over; later starts find it. None are built by default.",
        is_path=True,
    )
    engine_target: EngineTarget = setting("tensorrt", "With --engine-cache: the runtime that engines are built for.")
    engine_plugin: str = setting(
        "",
        "With --engine-cache: our plugin for TensorRT (geminifusion export plugin --runtime tensorrt); without it the "
        "fusions run from standard layers.",
        is_path=True,
        check=_require_plugin_file,
    )
    engine_build_s: float = setting(
        3600.0, "With --engine-cache: longest that building and verifying an engine may take.", low=1, high=86_400
    )


@dataclass(frozen=True, kw_only=True)
class BatchingSettings(SettingsGroup):
    """Dynamic batching"""

    max_batch: int = setting(0, "Most requests in a batch; 0 finds the best number at warm-up.", low=0, high=1024)
    max_batch_pixels: int = setting(
        10_000_000, "Most pixels in a batch, a single image excepted; bounds the engine's memory.", low=1
    )
    max_wait_ms: float = setting(
        0.0,
        "Longest a batch waits for more requests, from the arrival of its first, and only while others are being "
        "decoded.",
        low=0,
        high=10_000,
    )
    batch_tuning_s: float = setting(
        1.0,
        "Longest to search for the best batch size when a model is loaded, beside three single runs.",
        low=0,
        high=600,
    )


@dataclass(frozen=True, kw_only=True)
class DecodingSettings(SettingsGroup):
    """Decoding and encoding"""

    decode_workers: int = setting(
        0,
        "Threads or processes that decode, and as many threads that encode; 0 uses the cores this process may use.",
        low=0,
        high=1024,
    )
    decode_isolation: Isolation = setting(
        "process",
        "Where images are decoded; a process per worker is faster, is ended at the request's deadline, and keeps "
        "damaged images away from the server. Threads take less memory.",
    )
    sensor_policy: SensorPolicy = setting(
        DEFAULT_SENSOR_POLICY,
        "What to do about a broken or missing sensor; a request may choose another policy.",
    )


@dataclass(frozen=True, kw_only=True)
class LimitSettings(SettingsGroup):
    """Limits on requests, streams and connections"""

    queue_size: int = setting(64, "Requests in flight at once; the next is rejected with 429.", low=1)
    max_pixels: int = setting(32_000_000, "Most pixels of an image, judged by its header.", low=1)
    max_body_bytes: int = setting(64 * 1024 * 1024, "Most bytes of a request.", low=1024, high=2**31 - 1)
    max_json_values: int = setting(
        2_000_000,
        "Most numbers, texts and lists of a request in JSON, or in the typed contents of a gRPC message; more are sent "
        "as binary tensors.",
        low=64,
    )
    max_inflight_bytes: int = setting(
        256 * 1024 * 1024,
        "Most bytes that all requests, streams and unfinished messages hold together; the next is rejected with 429.",
        low=1024,
    )
    max_inflight_pixels: int = setting(
        64_000_000,
        "Most pixels of all images that are decoded or computed together; a single request excepted, the next waits.",
        low=1,
    )
    max_inflight_elements: int = setting(
        4_000_000,
        "Most elements of all requests in flight, of 40 bytes each: a number in a JSON array is one, five points of a "
        "cloud are two; the next is rejected with 429.",
        low=1,
    )
    body_timeout_s: float = setting(30.0, "Longest a request body may take to arrive.", low=0.01)
    max_connections: int = setting(
        10_000, "HTTP connections at once, TLS handshakes included; the next is answered 503 and closed.", low=1
    )
    max_grpc_connections: int = setting(
        1_000, "gRPC connections at once, TLS handshakes included; the next is closed.", low=1, high=2**31 - 1
    )
    max_watches: int = setting(
        64,
        "gRPC calls open at once of those that need no API key, as Health.Watch; the oldest is ended for the next.",
        low=1,
        high=10_000,
    )
    max_streams: int = setting(64, "Streams of frames open at once, gRPC and WebSocket together.", low=1, high=10_000)
    stream_idle_s: float = setting(60.0, "A stream ends when no frame has come for this long.", low=0.01)

    @property
    def pixels_in_flight(self) -> int:
        """`max_inflight_pixels`, but at least one image."""
        return max(self.max_inflight_pixels, self.max_pixels)


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(SettingsGroup):
    """Addresses, connections and shutdown"""

    host: str = setting("127.0.0.1", "Address both transports listen on; 0.0.0.0 for every interface.")
    http_port: int = setting(8000, "HTTP port; 0 takes a free one.", low=0, high=65535)
    grpc_port: int = setting(8001, "gRPC port; 0 takes a free one.", low=0, high=65535)
    keep_alive_s: int = setting(
        75, "How long an idle HTTP connection is kept; longer than the load balancer in front keeps it.", low=1
    )
    head_timeout_s: float = setting(10.0, "Longest the headers of an HTTP request may take to arrive.", low=0.01)
    max_head_bytes: int = setting(32 * 1024, "Most bytes of the headers of an HTTP request.", low=1024, high=2**20)
    drain_s: float = setting(
        8.0, "Longest to finish accepted requests after SIGTERM; keep it below the supervisor's kill.", low=0
    )
    drain_delay_s: float = setting(
        0.0, "After SIGTERM, how long to be not ready and serve on, until load balancers have noticed.", low=0
    )

    def __post_init__(self) -> None:
        """Check the fields, and that the ports differ."""
        super().__post_init__()
        if self.http_port == self.grpc_port != 0:
            raise SettingsError(f"http_port and grpc_port are both {self.http_port}; give them different ports")


@dataclass(frozen=True, kw_only=True)
class SecuritySettings(SettingsGroup):
    """API keys, TLS and CORS"""

    api_keys_file: str = setting(
        "", "TOML file of API keys, their roles and rate limits; by default none are required.", is_path=True
    )
    open_metrics: bool = setting(True, "Whether /metrics needs no API key.")
    tls_certificate: str = setting(
        "", "PEM file of the server's certificate and its chain; both transports use TLS.", is_path=True
    )
    tls_key: str = setting("", "PEM file of the certificate's key.", is_path=True)
    tls_client_ca: str = setting(
        "", "PEM file of the authorities whose client certificates are required (mTLS).", is_path=True
    )
    allowed_hosts: str = setting(
        "",
        "Names in the Host header of requests, separated by commas; * for any. By default what no web site can be "
        "called: loopback names, addresses, names without a dot, beyond a loopback --host also those of private "
        "networks; and any where API keys are asked for.",
        check=parse_hosts,
    )
    cors_origins: str = setting(
        "",
        "Web origins that may read responses and open streams, separated by commas, as https://example.org; none by "
        "default.",
        check=parse_origins,
    )

    @property
    def cors_allowed(self) -> tuple[str, ...]:
        """The web origins of `cors_origins`."""
        return parse_origins(self.cors_origins)

    @property
    def hosts_allowed(self) -> tuple[str, ...]:
        """The names of `allowed_hosts`."""
        return parse_hosts(self.allowed_hosts)


@dataclass(frozen=True, kw_only=True)
class ObservabilitySettings(SettingsGroup):
    """Logs and traces"""

    log_format: LogFormat = setting("text", "Format of log lines.")
    log_level: LogLevel = setting("info", "Least level of log lines.")
    access_log: bool = setting(True, "Log a line for each request.")
    otlp_endpoint: str = setting(
        "", "Where to send traces, as http://collector:4318/v1/traces (OTLP over HTTP); none by default."
    )
    trace_share: float = setting(
        1.0, "Share of traces that begin here to record; a caller's own decision wins.", low=0, high=1
    )


@dataclass(frozen=True, kw_only=True)
class RaySettings(SettingsGroup):
    """Replicas on Ray Serve"""

    executor: Executor = setting("local", "Where requests run: in this process, or in replicas on Ray Serve.")
    replicas: int = setting(1, "With --executor ray: replicas, or the least of them.", low=1, high=1000)
    max_replicas: int = setting(
        0, "With --executor ray: the most replicas; 0 for a fixed number, else Ray follows the load.", low=0, high=1000
    )
    target_ongoing: float = setting(
        4.0, "With --executor ray: requests in flight per replica at which their number is right.", low=0.1
    )
    replica_gpus: float = setting(0.0, "With --executor ray: GPUs reserved for each replica, or a share of one.", low=0)
    ray_address: str = setting(
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
        if self.decoding.sensor_policy == "synthesize" and not self.models.synthesizer:
            raise SettingsError(
                "sensor_policy is synthesize without a translator; pass --synthesizer DIRECTORY, or another policy"
            )
        if self.ray.executor == "ray" and self.models.synthesizer:
            raise SettingsError("replicas on Ray have no synthesizer; leave out --synthesizer, or --executor ray")
        if self.ray.executor == "ray" and self.models.model_repository:
            raise SettingsError("replicas on Ray serve fixed artifacts; give --artifact instead of --model-repository")
        if self.ray.executor == "ray" and self.runtime.engine_cache:
            raise SettingsError(
                "replicas on Ray build no engines; add one to the artifact (geminifusion export ARTIFACT DESTINATION "
                f"--to {self.runtime.engine_target}) instead of --engine-cache"
            )

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


GROUPS: Final[dict[str, type[SettingsGroup]]] = get_type_hints(Settings)
ALL_SETTINGS: Final = tuple(setting for group, fields in GROUPS.items() for setting in settings_of(fields, group))


def group_heading(group: str) -> str:
    """Heading of a group, for `--help` and the reference."""
    return GROUPS[group].__doc__ or group
