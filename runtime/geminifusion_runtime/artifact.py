"""The artifact: what the exporter writes, and the runtime and the service read.

An artifact is a directory: `metadata.json` (`ArtifactMetadata`) beside the files it names with their SHA-256. The
service knows nothing else of a model, so every fact that it needs is a field here.

This module imports the standard library and pydantic alone, neither torch nor onnx.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from geminifusion_runtime import strict_json
from geminifusion_runtime.bounded_files import UnusableFileError, open_regular, read_bounded
from geminifusion_runtime.onnx_external_data import external_files
from geminifusion_runtime.protobuf_wire import WireError
from geminifusion_runtime.signatures import SignatureError, require_signature

SCHEMA_VERSION = 1
METADATA_NAME = "metadata.json"
MODEL_NAME = "model.onnx"

MAX_FILE_BYTES = 16 * 2**30  # of each file
_MAX_METADATA_BYTES = 2**20
_MAX_PROBLEMS = 20  # that are named
_MAX_FILES = 64
MAX_PIXELS = 2**26  # 8192x8192
_MAX_REFERENCE_PIXELS = 2**24  # a frame of this size is made and segmented when a model is loaded
_MAX_SIDE = 2**15

_STRICT = ConfigDict(extra="forbid")
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Byte = Annotated[int, Field(ge=0, le=255)]
_Side = Annotated[int, Field(ge=1, le=_MAX_SIDE)]  # pixels


Precision = Literal["float32", "float16", "bfloat16", "int8"]
_Shape = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]

Encoding = Literal["imagenet", "metric", "inverse", "log", "raw", "hha"]
Unit = Literal["intensity", "metre", "count"]
Upsampling = Literal["bilinear", "bicubic"]

_UNITS: dict[Encoding, tuple[Unit, ...]] = {
    "imagenet": ("intensity",),
    "metric": ("metre",),
    "inverse": ("metre",),
    "log": ("metre",),
    "raw": ("intensity", "metre", "count"),
    "hha": ("intensity",),
}


class ArtifactError(ValueError):
    """The directory is no artifact this version can serve; the message says what is wrong and what to do."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ModalitySpec:
    """One input of the graph: what to send, and how the graph encodes it.

    | unit | what is sent | dtype |
    |---|---|---|
    | `intensity` | an 8-bit picture, 0…255 | uint8 |
    | `metre` | distances in metres; 0 or NaN: no measurement | float32 |
    | `count` | stored numbers of more than 8 bits, or floats: radiometric thermal, 16-bit pictures | float32 |

    | encoding | before mean and std |
    |---|---|
    | `imagenet`, `hha` | value / 255 |
    | `metric`, `inverse`, `log` | metres, 1 / metres, natural logarithm of metres |
    | `raw` | value / 255; with unit `metre`, (metres / `metres_per_unit`) / 255 |

    The service checks dtype, shape and unit; `range`, `invalid`, `mean` and `std` are applied inside the graph.

    Args:
        name: of the graph input and of the request field.
        channels: 3 for `B H W 3`, 1 for `B H W`.
        range: values are clipped to it before they are encoded; 1 is full scale (255) for `intensity`, metres for
            `metre`, stored numbers for `count`.
        invalid: readings that mean "no measurement"; None stands for NaN.
        mean, std: one value per channel.
        optional: trained to be absent, so a request may leave it out.
        metres_per_unit: the network was trained on stored numbers of this many metres each, but is sent metres; of
            encoding `raw` with unit `metre` only.
    """

    name: _Name
    dtype: Literal["uint8", "float32"]
    channels: Literal[1, 3]
    unit: Unit
    encoding: Encoding
    range: tuple[float, float]
    invalid: tuple[float | None, ...] = ()
    mean: tuple[float, ...]
    std: tuple[float, ...]
    optional: bool = False
    metres_per_unit: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> ModalitySpec:
        if self.unit not in _UNITS[self.encoding]:
            raise ValueError(
                f"{self.name} is encoded as {self.encoding} in unit {self.unit}; "
                f"expected {' or '.join(_UNITS[self.encoding])}"
            )
        if (self.dtype == "uint8") != (self.unit == "intensity"):
            raise ValueError(f"{self.name} has dtype {self.dtype} with unit {self.unit}")
        wanted = {"imagenet": 3, "hha": 3}.get(self.encoding, 1 if self.unit == "metre" else self.channels)
        if self.channels != wanted:
            raise ValueError(f"{self.name} has {self.channels} channels; {self.encoding} in {self.unit} has {wanted}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"{self.name} needs a mean and a std for each of its {self.channels} channels")
        if (self.metres_per_unit is not None) != (self.encoding == "raw" and self.unit == "metre"):
            raise ValueError(f"metres_per_unit of {self.name} belongs to encoding raw with unit metre, and only there")
        return self

    @property
    def can_average(self) -> bool:
        """Whether a mean of two pixels means something; of two distances it would be a place where nothing is."""
        return self.unit != "metre" and self.encoding != "hha"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ClassSpec:
    """One class: its index in the label map, its name and its RGB colour."""

    id: _Byte
    name: str
    color: tuple[_Byte, _Byte, _Byte]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SizePolicy:
    """Which image sizes the graph takes, and what it makes of them, in pixels.

    Without `shorter_side` the network sees images at their own size. With it, the graph resizes them bilinearly and
    without antialiasing: the shorter side to `shorter_side`, the other in proportion (rounded half up), then both sides
    up to multiples of `multiple_of`. Labels always have the size of the images.

    An image that the network would see with more than `max_pixels` is reduced to fit before it is sent to the graph,
    and its labels are enlarged to the posted size again; one with a side below `min_side` is rejected.
    """

    min_side: _Side
    max_pixels: Annotated[int, Field(ge=1, le=MAX_PIXELS)]
    reference: tuple[_Side, _Side]  # height, width the scores were measured at; the service warms up with it
    shorter_side: _Side | None = None
    multiple_of: _Side = 1

    @model_validator(mode="after")
    def _is_bounded(self) -> SizePolicy:
        height, width = self.reference
        if height * width > _MAX_REFERENCE_PIXELS:
            raise ValueError(f"reference {height}x{width} has more than {_MAX_REFERENCE_PIXELS} pixels")
        return self

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that the network sees of an image of `height` and `width`."""
        if self.shorter_side is None:
            return height, width
        shorter = min(height, width)
        scaled = ((2 * side * self.shorter_side + shorter) // (2 * shorter) for side in (height, width))
        rows, columns = (-(-side // self.multiple_of) * self.multiple_of for side in scaled)
        return rows, columns


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class BackendReport:
    """Deviation of one backend from the torch network at one input shape, over the whole golden set.

    Errors are absolute; `label_agreement` is the share of pixels with the same class, 0…1.
    """

    backend: str
    batch: int
    height: int
    width: int
    traced: bool  # the shape the graph was traced with
    confidence_max_error: float
    confidence_mean_error: float
    gate_max_error: float
    gate_mean_error: float
    label_agreement: Annotated[float, Field(ge=0, le=1)]
    precision: Precision = "float32"  # what the backend computed in
    miou: float | None = None  # percent on the golden set; only of a report over golden frames
    reference_miou: float | None = None  # percent, of the torch network on the same frames
    worst_layer: str | None = None  # where the graph first leaves torch, if it was over budget


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class HeldOutScore:
    """Accuracy of a runtime file on labelled frames that the network was not trained on; percent."""

    frames: Annotated[int, Field(ge=1)]
    reference_miou: float  # of the float32 network
    miou: float
    label_agreement: Annotated[float, Field(ge=0, le=1)]  # with the float32 network, 0…1


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RuntimeFile:
    """The same network in another runtime's format, beside `model.onnx`.

    `file` is the one to open; what it needs beside it is named in `ArtifactMetadata.files` too.
    """

    runtime: Literal["openvino", "tensorrt"]
    file: str
    precision: Precision
    held_out: HeldOutScore | None = None  # of int8, which is accepted by it


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ShapeRange:
    """One optimisation profile of an engine: `batch, height, width` at least, best and at most."""

    minimum: _Shape
    optimum: _Shape
    maximum: _Shape

    @model_validator(mode="after")
    def _ordered(self) -> ShapeRange:
        for low, best, high in zip(self.minimum, self.optimum, self.maximum, strict=True):
            if not low <= best <= high:
                raise ValueError(f"{self.minimum} … {self.optimum} … {self.maximum} is not in order on every axis")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class EngineRequirements:
    """Versions and hardware that a TensorRT engine loads with; on others, loading is not even tried."""

    tensorrt_version: str  # full, as 11.4.0.106
    compute_capability: str  # of the GPU it was built on, as 8.9
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    plugin_file: str | None = None  # in the artifact; none if the engine was built from the function's body
    plugin_sha256: _Sha256 | None = None
    profiles: Annotated[tuple[ShapeRange, ...], Field(min_length=1)]
    layer_precisions: dict[str, int] = dataclasses.field(default_factory=dict)  # as the engine inspector counts layers


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GoldenSet:
    """Frames shipped with the artifact, with the torch network's outputs; `verify` needs nothing else."""

    file: str  # .npz: modalities `frames H W [3]`; `labels`, `confidence`, `gate` of torch; `truth` if there is one
    frames: Annotated[int, Field(ge=1, le=4096)]
    source: str
    license: str
    miou: float | None = None  # percent, of torch against the truth


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Training:
    """Provenance of the weights: data, budget, protocol, and the scores measured by it."""

    data: str
    summary: str
    protocol: str | None = None
    miou: float | None = None  # percent
    pixel_accuracy: float | None = None  # percent
    mean_accuracy: float | None = None  # percent


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ArtifactMetadata:
    """Everything the service needs to know about a model."""

    schema_version: Literal[1]
    name: _Name
    version: _Name
    task: Literal["semantic-segmentation"] = "semantic-segmentation"
    encoder: str
    fusion: str
    modalities: Annotated[tuple[ModalitySpec, ...], Field(min_length=1, max_length=4)]  # in the network's order
    size: SizePolicy
    input_scale: Annotated[float, Field(gt=0, le=1)] = 1.0  # the graph reduces its inputs by this factor
    label_upsampling: Upsampling = "bilinear"  # of the logits to the size of the images; bicubic is torch's, a = -0.75
    intrinsics: tuple[float, float, float, float] | None = None  # fx, fy, cx, cy of requests that name none
    temperature: Annotated[float, Field(gt=0)] | None = None  # the graph divides logits by it before the confidence
    classes: Annotated[tuple[ClassSpec, ...], Field(min_length=1, max_length=255)]
    ignore_index: _Byte
    precision: Literal["float32", "float16", "bfloat16"]
    weights_stored_as: Literal["float32", "float16"] = "float32"
    opset: int
    files: Annotated[dict[str, _Sha256], Field(max_length=_MAX_FILES)]
    checkpoint_sha256: _Sha256
    git_commit: str | None = None
    created_with: dict[str, str] = dataclasses.field(default_factory=dict)  # package -> version
    training: Training
    weights_license: str
    data_license: str
    verification: tuple[BackendReport, ...] = ()
    runtimes: tuple[RuntimeFile, ...] = ()
    engine: EngineRequirements | None = None  # of the RuntimeFile with runtime tensorrt
    golden: GoldenSet | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> ArtifactMetadata:
        names = [modality.name for modality in self.modalities]
        if len(set(names)) != len(names):
            raise ValueError(f"modalities are {names}; expected each name once")
        if [c.id for c in self.classes] != list(range(len(self.classes))):
            raise ValueError("class ids must be 0, 1, 2 … in order")
        if self.ignore_index < len(self.classes):
            raise ValueError(f"ignore_index {self.ignore_index} is also a class")
        if MODEL_NAME not in self.files:
            raise ValueError(f"files must name {MODEL_NAME}")
        named = [entry.file for entry in self.runtimes] + ([self.golden.file] if self.golden else [])
        if self.engine is not None and self.engine.plugin_file is not None:
            named.append(self.engine.plugin_file)
        if missing := [name for name in named if name not in self.files]:
            raise ValueError(f"files must name {', '.join(missing)}, with a SHA-256")
        if (self.engine is None) == any(entry.runtime == "tensorrt" for entry in self.runtimes):
            raise ValueError("a TensorRT engine among the runtimes and its requirements belong together")
        if any(Path(name).name != name for name in self.files):
            raise ValueError("files must be plain names inside the artifact directory")
        return self

    @property
    def hha_from_depth(self) -> ModalitySpec | None:
        """The HHA modality that depth may be sent for; None where there is none, or the model takes depth itself."""
        if any(spec.name == "depth" for spec in self.modalities):
            return None
        return next((spec for spec in self.modalities if spec.encoding == "hha"), None)

    def distance_modality(self, came: Collection[str]) -> str | None:
        """The first modality in metres of those that came, by whose distances pixels are places; None without one."""
        return next((spec.name for spec in self.modalities if spec.unit == "metre" and spec.name in came), None)

    @property
    def reference(self) -> str:
        """`name@version`, as clients ask for it."""
        return f"{self.name}@{self.version}"

    def palette(self) -> list[tuple[int, int, int]]:
        """The class colours in class order."""
        return [c.color for c in self.classes]


_METADATA = TypeAdapter(ArtifactMetadata)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_metadata(directory: Path, metadata: ArtifactMetadata) -> None:
    """Write `metadata.json`; the files it names must already be in `directory`."""
    text = strict_json.dumps(_METADATA.dump_python(metadata, mode="json"), indent=2, ensure_ascii=False)
    (directory / METADATA_NAME).write_text(text + "\n", encoding="utf-8")


def read_metadata(directory: Path | str) -> ArtifactMetadata:
    """Read and validate `metadata.json` without touching the files it names.

    Raises:
        ArtifactError: it is missing, is no JSON, has another schema version, or a field does not fit.
    """
    return _parse(Path(directory) / METADATA_NAME, _read(Path(directory)))


def _read(directory: Path) -> bytes:
    """The bytes of `metadata.json`."""
    path = directory / METADATA_NAME
    try:
        return read_bounded(path, inside=directory, max_bytes=_MAX_METADATA_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"{directory} holds no {METADATA_NAME}; give the directory that `geminifusion export` wrote"
        ) from None
    except UnusableFileError as error:
        raise ArtifactError(str(error)) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); copy the artifact again") from None


def _parse(path: Path, content: bytes) -> ArtifactMetadata:
    try:
        raw: Any = json.loads(content)
    except RecursionError:
        raise ArtifactError(f"{path} is nested far too deep; export the artifact again") from None
    except ValueError as error:  # for numbers of too many digits too
        raise ArtifactError(f"{path} cannot be read as JSON ({error}); export the artifact again") from None
    found = raw.get("schema_version") if isinstance(raw, dict) else None
    if found != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {found!r}, this geminifusion reads {SCHEMA_VERSION}; "
            "export the checkpoint again or install the release that wrote it"
        )
    try:
        return _METADATA.validate_python(raw)
    except ValidationError as error:
        raise ArtifactError(f"{path} does not fit the schema ({_problems(error)}); export it again") from None


def _problems(error: ValidationError) -> str:
    if error.error_count() > _MAX_PROBLEMS:
        return f"{error.error_count()} values do not"
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'metadata'}: {one['msg']}" for one in error.errors())


def open_artifact(directory: Path | str, *, trusted_keys: Path | None = None) -> ArtifactMetadata:
    """Read the metadata and check every file that is opened to serve it against its SHA-256.

    Args:
        trusted_keys: a file of public keys; one of them must have signed the metadata, and so the checksums. See
            `signatures`.

    Raises:
        ArtifactError: the metadata does not validate; a file is missing, differs or lies elsewhere; one that a runtime
            would open has no checksum; or no trusted key signed it.
    """
    directory = Path(directory)
    content = _read(directory)
    if trusted_keys is not None:  # before anything of a stranger is interpreted
        try:
            require_signature(directory / METADATA_NAME, content, trusted_keys)
        except SignatureError as error:
            raise ArtifactError(str(error)) from None
    metadata = _parse(directory / METADATA_NAME, content)
    for name, expected in metadata.files.items():
        path = directory / name
        try:
            with open_regular(path, inside=directory, max_bytes=MAX_FILE_BYTES) as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except UnusableFileError as error:
            raise ArtifactError(str(error)) from None
        except OSError as error:
            raise ArtifactError(
                f"{path} is missing or cannot be read ({error.strerror}); copy the whole artifact directory or export "
                "it again"
            ) from None
        if found != expected:
            raise ArtifactError(
                f"{path} has SHA-256 {found[:12]}…, {METADATA_NAME} says {expected[:12]}…: the file was damaged or "
                "replaced; copy the artifact again"
            )
    for name in metadata.files:
        _check_companions(directory, name, metadata.files)
    return metadata


def _check_companions(directory: Path, name: str, named: Collection[str]) -> None:
    """Check that a runtime opens nothing beside this file that has no checksum."""
    path = directory / name
    if path.suffix == ".onnx":
        try:
            others = external_files(path, max_bytes=MAX_FILE_BYTES)
        except WireError as error:
            raise ArtifactError(f"{path} is no ONNX file ({error}); export it again") from None
        if missing := sorted(others - set(named)):
            raise ArtifactError(
                f"{path} takes weights from {missing[0][:100]!r}, of which {METADATA_NAME} has no checksum; export it "
                "again"
            )
    weights = path.with_suffix(".bin")  # OpenVINO opens it by its name
    if path.suffix == ".xml" and weights.name not in named and weights.exists():
        raise ArtifactError(f"OpenVINO would open {weights}, of which {METADATA_NAME} has no checksum; export it again")
