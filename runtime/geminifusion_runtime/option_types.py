"""The types of options that several tasks have, each with its range, default text and description."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Protocol

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from geminifusion_runtime.camera import Pose
from geminifusion_runtime.types import Priority, SensorPolicy

if TYPE_CHECKING:
    from geminifusion_runtime.artifact import ModalitySpec

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"
TEXT: Final = object()  # validation context of values that are text
_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_MOST_MARKERS = 8


class Expected(str):
    """What a message says was expected of an option whose type does not say it."""


class WrongValueError(ValueError):
    """Values of the right type and count that make no sense; the text says why, behind the option's name."""


def _flag(value: object, info: ValidationInfo) -> object:
    """A flag from text: 1, 0, true or false, in any case; pydantic would accept `on` and `yes` as well."""
    return _FLAGS.get(value.lower(), value) if info.context is TEXT and isinstance(value, str) else value


def _numbers(value: object, info: ValidationInfo) -> object:
    """Numbers from text, separated by commas, or from a sequence; a number alone stands for a sequence of one."""
    if info.context is TEXT and isinstance(value, str):
        return tuple(map(float, value.split(","))) if value else ()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(value)
    return (value,) if isinstance(value, Real) else value


def _camera(values: tuple[float, ...]) -> tuple[float, ...]:
    """None or four numbers, the focal lengths above 0."""
    if values and (len(values) != 4 or min(values[:2]) <= 0):
        raise ValueError("no camera")
    return values


def _pose(values: tuple[float, ...]) -> tuple[float, ...]:
    """None or the twelve numbers of a rotation and a translation."""
    if values and len(values) != 12:
        raise ValueError("no pose")
    if values:
        try:
            Pose.of(values)
        except ValueError as error:
            raise WrongValueError(str(error)) from None
    return values


def numbers_field(count: int, description: str) -> Any:  # noqa: ANN401 - as pydantic's own
    """Numbers that come together or not at all."""
    return Field(description=description, json_schema_extra={"minItems": count, "maxItems": count})


Flag = Annotated[bool, BeforeValidator(_flag)]
_METRES_PER_UNIT = "metres per stored unit in (0, 1000]; millimetres are 0.001"
_NOT_MEASURED = "stored values that mean not measured, such as 65535; 0, negative, NaN and infinite always do"
Scale = Annotated[float, Expected(_METRES_PER_UNIT), Field(gt=0, le=1000)]
Markers = Annotated[
    tuple[float, ...], Expected(_NOT_MEASURED), Field(max_length=_MOST_MARKERS), BeforeValidator(_numbers)
]
Intrinsics = Annotated[tuple[float, ...], BeforeValidator(_numbers), AfterValidator(_camera)]
Extrinsics = Annotated[tuple[float, ...], BeforeValidator(_numbers), AfterValidator(_pose)]

ModelOption = Annotated[
    str | None, Expected("text"), Field(description="name or name@version; the server's default when left out")
]
DepthScaleOption = Annotated[
    float | None,
    Expected(_METRES_PER_UNIT),
    Field(gt=0, le=1000, description="metres per stored unit of depth; 0.001 for integers when left out"),
]
DepthInvalidOption = Annotated[
    tuple[float, ...],
    Expected(_NOT_MEASURED),
    Field(
        max_length=_MOST_MARKERS,
        description="stored values of depth that mean not measured, beside 0: 65535, or 65535,1",
    ),
    BeforeValidator(_numbers),
]
SensorPolicyOption = Annotated[
    SensorPolicy | None,
    Field(description="what to do about a broken or missing sensor; the server's setting when left out"),
]
PriorityOption = Annotated[Priority, Field(description="high goes before normal")]
DeadlineOption = Annotated[
    float | None,
    Expected("milliseconds above 0 and at most 3600000"),
    Field(gt=0, le=3_600_000, description="give up when there is no response this long after the request arrived"),
]
RequestIdOption = Annotated[
    str | None,
    Expected("1 to 128 of A-Z a-z 0-9 . _ : -"),
    Field(pattern=REQUEST_ID_PATTERN, description="name of the request in the response and in logs"),
]


class RequestOptions(Protocol):
    """The options that a request of any task has."""

    @property
    def task(self) -> str:
        """The task it is for, as `tasks.registry` names it."""

    @property
    def model(self) -> str | None:
        """Name, or `name@version`; None for the server's default."""

    @property
    def sensor_policy(self) -> SensorPolicy | None:
        """What to do about a missing or broken sensor; None for the server's setting."""

    @property
    def priority(self) -> Priority:
        """Whether it goes before others."""

    @property
    def deadline_ms(self) -> float | None:
        """Milliseconds after its arrival when nobody waits for the response any more."""

    @property
    def request_id(self) -> str | None:
        """Its name in the response and in logs."""


class ModalityOptions(NamedTuple):
    """The options of one modality.

    Attributes:
        scale: metres per stored unit; None for the default of the file's type.
        invalid: stored values that mean "no measurement".
    """

    scale: float | None = None
    invalid: tuple[float, ...] = ()


class ImageOptions(RequestOptions, Protocol):
    """The options of a request that carries images of a model's modalities."""

    @property
    def depth_scale(self) -> float | None:
        """Metres per stored unit of depth."""

    @property
    def depth_invalid(self) -> tuple[float, ...]:
        """Stored values of depth that mean "no measurement"."""

    @property
    def scales(self) -> dict[str, float]:
        """`NAME_scale` of modalities other than depth, by name."""

    @property
    def invalids(self) -> dict[str, tuple[float, ...]]:
        """`NAME_invalid` of modalities other than depth, by name."""


def modality_options(options: ImageOptions, spec: ModalitySpec) -> ModalityOptions:
    """The options of one modality; those of depth hold for HHA that is computed from it as well."""
    own = ModalityOptions(options.scales.get(spec.name), options.invalids.get(spec.name, ()))
    if spec.name == "depth" or (spec.encoding == "hha" and own == ModalityOptions()):
        return ModalityOptions(options.depth_scale, options.depth_invalid)
    return own
