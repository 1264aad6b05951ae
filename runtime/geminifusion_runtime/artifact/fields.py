"""The parts of an artifact's metadata that every task shares: inputs, sizes, runtime files, provenance."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

MAX_PIXELS = 2**26  # 8192x8192
_MAX_REFERENCE_PIXELS = 2**24  # a frame of this size is made and run when a model is loaded
_MAX_SIDE = 2**15

STRICT = ConfigDict(extra="forbid")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Byte = Annotated[int, Field(ge=0, le=255)]
_Side = Annotated[int, Field(ge=1, le=_MAX_SIDE)]  # pixels


Precision = Literal["float32", "float16", "bfloat16", "int8"]
_Shape = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]

Encoding = Literal["imagenet", "metric", "inverse", "log", "raw", "hha"]
Unit = Literal["intensity", "metre", "count"]

_UNITS: dict[Encoding, tuple[Unit, ...]] = {
    "imagenet": ("intensity",),
    "metric": ("metre",),
    "inverse": ("metre",),
    "log": ("metre",),
    "raw": ("intensity", "metre", "count"),
    "hha": ("intensity",),
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
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

    name: Name
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputTensor:
    """One output of the graph; its leading axis is the batch.

    Args:
        channels: length of the channel axis; None without one.
        channels_first: the channel axis is before the sides, not behind them.
        reduction: of the sides against those of the inputs, rounded up.
        optional: graphs of earlier releases may lack it.
    """

    name: str
    dtype: Literal["uint8", "float32"]
    channels: int | None = None
    channels_first: bool = False
    reduction: int = 1
    optional: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HeldOutScore:
    """Accuracy of a runtime file on labelled frames that the network was not trained on; percent."""

    frames: Annotated[int, Field(ge=1)]
    reference_miou: float  # of the float32 network
    miou: float
    label_agreement: Annotated[float, Field(ge=0, le=1)]  # with the float32 network, 0…1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RuntimeFile:
    """The same network in another runtime's format, beside `model.onnx`.

    `file` is the one to open; what it needs beside it is named in `ArtifactMetadata.files` too.
    """

    runtime: Literal["openvino", "tensorrt"]
    file: str
    precision: Precision
    held_out: HeldOutScore | None = None  # of int8, which is accepted by it


@dataclass(frozen=True, kw_only=True, config=STRICT)
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EngineRequirements:
    """Versions and hardware that a TensorRT engine loads with; on others, loading is not even tried."""

    tensorrt_version: str  # full, as 11.4.0.106
    compute_capability: str  # of the GPU it was built on, as 8.9
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    plugin_file: str | None = None  # in the artifact; none if the engine was built from the function's body
    plugin_sha256: Sha256 | None = None
    profiles: Annotated[tuple[ShapeRange, ...], Field(min_length=1)]
    layer_precisions: dict[str, int] = dataclasses.field(default_factory=dict)  # as the engine inspector counts layers


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BackendReport:
    """Deviation of one backend from the torch network at one input shape, over the whole golden set.

    What deviates is the task's own: see `SegmentationReport` and its like.
    """

    backend: str
    batch: int
    height: int
    width: int
    traced: bool  # the shape the graph was traced with
    precision: Precision = "float32"  # what the backend computed in
    worst_layer: str | None = None  # where the graph first leaves torch, if it was over budget


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GoldenFile:
    """Frames shipped with the artifact, with the torch network's outputs; `verify` needs nothing else."""

    file: str  # .npz: graph inputs `frames …`, the outputs of torch, and the truth where there is one
    frames: Annotated[int, Field(ge=1, le=4096)]
    source: str
    license: str


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingRecord:
    """Provenance of the weights: data and budget; protocol and frames that the scores were measured by and on."""

    data: str
    summary: str
    protocol: str | None = None
    scored_on: str | None = None
