"""The options of a segmentation request: one definition for every transport, the client and the command line.

A field of `SegmentOptions` gives an option its name, type, range, default and description. Derived from it are the
query of `POST /v1/segment`, the messages of the WebSocket, the parameters of Open Inference, the OpenAPI document, the
mapping to and from gRPC messages, the arguments of the client and those of `geminifusion predict`. A new option is a
field here and one of `SegmentRequest` in protos/geminifusion/v1/segmentation.proto; a test walks every field through
every transport.

Clients import this module: it needs pydantic and nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass

from geminifusion_runtime.camera import Pose
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.types import Align, MaskFormat, Priority, SensorPolicy

if TYPE_CHECKING:
    from geminifusion_runtime.artifact import ModalitySpec

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"
_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_TEXT = object()  # context of values that are text
SHOWN_CHARACTERS = 100  # of a rejected name or value, in the message
_MOST_MARKERS = 8
_MOST_MODALITIES = 16  # that options of one request may name
# Names of modalities are those of `artifact.ModalitySpec`.
_OF_MODALITY = re.compile(r"(?P<modality>[a-z0-9][a-z0-9._-]{0,62})_(?P<kind>scale|invalid)")


class Expected(str):
    """What a message says was expected of an option whose type does not say it."""


def _flag(value: object, info: ValidationInfo) -> object:
    """A flag from text: 1, 0, true or false, in any case; pydantic would accept `on` and `yes` as well."""
    return _FLAGS.get(value.lower(), value) if info.context is _TEXT and isinstance(value, str) else value


def _numbers(value: object, info: ValidationInfo) -> object:
    """Numbers from text, separated by commas, or from a sequence; a number alone stands for a sequence of one."""
    if info.context is _TEXT and isinstance(value, str):
        return tuple(map(float, value.split(","))) if value else ()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(value)
    return (value,) if isinstance(value, Real) else value


class _WrongPoseError(ValueError):
    """Numbers of the right count that are no pose; the text says why."""


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
            raise _WrongPoseError(str(error)) from None
    return values


Flag = Annotated[bool, BeforeValidator(_flag)]
_METRES_PER_UNIT = "metres per stored unit in (0, 1000]; millimetres are 0.001"
_NOT_MEASURED = "stored values that mean not measured, such as 65535; 0, negative, NaN and infinite always do"
Scale = Annotated[float, Expected(_METRES_PER_UNIT), Field(gt=0, le=1000)]
Markers = Annotated[
    tuple[float, ...], Expected(_NOT_MEASURED), Field(max_length=_MOST_MARKERS), BeforeValidator(_numbers)
]


def _numbers_field(count: int, description: str) -> Any:  # noqa: ANN401 - as pydantic's own
    """Numbers that come together or not at all."""
    return Field(description=description, json_schema_extra={"minItems": count, "maxItems": count})


class ModalityOptions(NamedTuple):
    """The options of one modality.

    Attributes:
        scale: metres per stored unit; None for the default of the file's type.
        invalid: stored values that mean "no measurement".
    """

    scale: float | None = None
    invalid: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class SegmentOptions:
    """What a client asks for. Types are strict: 1 is not a flag and "1" not a number.

    Args:
        scales: `NAME_scale` of modalities other than depth, by name; see `of_modality`.
        invalids: `NAME_invalid` of modalities other than depth, by name.

    Raises:
        pydantic.ValidationError: a wrong type or a value out of range; `parse_text` and `parse_values` raise
            `InvalidOptionError` instead.
    """

    model: Annotated[
        str | None, Expected("text"), Field(description="name or name@version; the server's default when left out")
    ] = None
    depth_scale: Annotated[
        float | None,
        Expected(_METRES_PER_UNIT),
        Field(gt=0, le=1000, description="metres per stored unit of depth; 0.001 for integers when left out"),
    ] = None
    depth_invalid: Annotated[
        tuple[float, ...],
        Expected(_NOT_MEASURED),
        Field(
            max_length=_MOST_MARKERS,
            description="stored values of depth that mean not measured, beside 0: 65535, or 65535,1",
        ),
        BeforeValidator(_numbers),
    ] = ()
    intrinsics: Annotated[
        tuple[float, ...],
        Expected("fx,fy,cx,cy of the depth camera in pixels, the focal lengths above 0"),
        _numbers_field(4, "fx,fy,cx,cy of the depth camera in pixels, for points and measures, and HHA of depth"),
        BeforeValidator(_numbers),
        AfterValidator(_camera),
    ] = ()
    rgb_intrinsics: Annotated[
        tuple[float, ...],
        Expected("fx,fy,cx,cy of the rgb camera in pixels, the focal lengths above 0"),
        _numbers_field(4, "fx,fy,cx,cy of the rgb camera in pixels, for align=register"),
        BeforeValidator(_numbers),
        AfterValidator(_camera),
    ] = ()
    extrinsics: Annotated[
        tuple[float, ...],
        Expected("the twelve numbers of [R|t] from the depth camera to the rgb camera, row by row, t in metres"),
        _numbers_field(12, "[R|t] from the depth camera to the rgb camera, row by row, metres, for align=register"),
        BeforeValidator(_numbers),
        AfterValidator(_pose),
    ] = ()
    align: Annotated[
        Align,
        Field(description="resize all to the size of rgb, or the first; register depth to rgb; none: reject them"),
    ] = "none"
    sensor_policy: Annotated[
        SensorPolicy | None, Field(description="what to do about a broken sensor; the server's setting when left out")
    ] = None
    # None, for transports that send tensors: no file, the label map alone.
    format: Annotated[
        MaskFormat | None,
        Field(
            description="png: class indices; palette: in class colours; overlay; json; npz; points: ply, pcd, cloud-npz"
        ),
    ] = "png"
    overlay_on: Annotated[
        str | None,
        Expected("the name of a modality"),
        Field(description="modality that format=overlay is drawn on; rgb when left out, or else the first that came"),
    ] = None
    confidence: Annotated[Flag, Field(description="add the map of the winner's probability; npz always has it")] = False
    gate: Annotated[
        Flag, Field(description="add the map of how much rgb attends to the others, and which; npz always has it")
    ] = False
    disagreement: Annotated[
        Flag, Field(description="add the map of how much the labels depend on the others, 0 to 1; runs the frame twice")
    ] = False
    classes: Annotated[
        Flag, Field(description="add the share and the distance of each class; json always has them")
    ] = False
    priority: Annotated[Priority, Field(description="high goes before normal")] = "normal"
    deadline_ms: Annotated[
        float | None,
        Expected("milliseconds above 0 and at most 3600000"),
        Field(gt=0, le=3_600_000, description="give up when there is no response this long after the request arrived"),
    ] = None
    request_id: Annotated[
        str | None,
        Expected("1 to 128 of A-Z a-z 0-9 . _ : -"),
        Field(pattern=REQUEST_ID_PATTERN, description="name of the request in the response and in logs"),
    ] = None
    scales: dict[str, Scale] = dataclasses.field(default_factory=dict)
    invalids: dict[str, Markers] = dataclasses.field(default_factory=dict)

    def of_modality(self, spec: ModalitySpec) -> ModalityOptions:
        """The options of one modality; those of depth hold for HHA that is computed from it as well."""
        own = ModalityOptions(self.scales.get(spec.name), self.invalids.get(spec.name, ()))
        if spec.name == "depth" or (spec.encoding == "hha" and own == ModalityOptions()):
            return ModalityOptions(self.depth_scale, self.depth_invalid)
        return own


MODALITY_FIELDS = {"scale": "scales", "invalid": "invalids"}  # fields by the ending of an option
_DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for field in dataclasses.fields(SegmentOptions)
    if field.name not in MODALITY_FIELDS.values()
}
OPTION_NAMES = tuple(_DEFAULTS)
_ADAPTER = TypeAdapter(SegmentOptions)


def parse_text(values: Mapping[str, str]) -> SegmentOptions:
    """Options from text, as a query string has them: flags as 1 or 0, several numbers separated by commas.

    Raises:
        InvalidOptionError: an unknown name, or a value that does not parse or is out of range.
    """
    try:
        return _ADAPTER.validate_strings(_by_field(values), context=_TEXT)
    except ValidationError as error:
        raise _invalid_option(error, flags="1 or 0") from None


def parse_values(values: Mapping[str, Any]) -> SegmentOptions:
    """Options from values of their own types, as JSON and Python have them.

    Raises:
        InvalidOptionError: an unknown name, or a value of the wrong type or out of range.
    """
    try:
        return SegmentOptions(**_by_field(values))
    except ValidationError as error:
        raise _invalid_option(error, flags="true or false") from None


def given_values(options: SegmentOptions) -> dict[str, Any]:
    """The options that differ from their defaults, which is all that has to be sent."""
    values = {name: value for name, default in _DEFAULTS.items() if (value := getattr(options, name)) != default}
    for kind, field in MODALITY_FIELDS.items():
        values |= {f"{name}_{kind}": value for name, value in getattr(options, field).items()}
    return values


def as_text(options: SegmentOptions) -> dict[str, str]:
    """`given_values` as `parse_text` reads them."""
    return {name: _text(value) for name, value in given_values(options).items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)


def option_schemas() -> dict[str, dict[str, Any]]:
    """JSON schema of each option as clients send it: type, range or choices, default, description."""
    schemas = _ADAPTER.json_schema()["properties"]
    return {name: _without_null(schemas[name]) for name in OPTION_NAMES}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema in which an option that is left out, and not null, means its default."""
    (kind,) = [one for one in schema.get("anyOf", [{}]) if one.get("type") != "null"]
    sent = kind | {key: value for key, value in schema.items() if key not in ("anyOf", "title")}
    if not sent["default"]:
        del sent["default"]
    return sent


def unknown_option(name: str, known: Iterable[str], *, kind: str = "option") -> InvalidOptionError:
    """The error for a name that is not known: it says the nearest known one, or else all of them."""
    known = tuple(known)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
    return InvalidOptionError(f"there is no {kind} {name[:SHOWN_CHARACTERS]!r}; {hint}")


def is_option(name: str) -> bool:
    """Whether there is an option of this name, for some model."""
    return name in _DEFAULTS or _OF_MODALITY.fullmatch(name) is not None


def _by_field(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values by the fields of `SegmentOptions`, which has those of all modalities in one."""
    others = [name for name in values if name not in _DEFAULTS]
    if not others:
        return values
    if len(others) > _MOST_MODALITIES * len(MODALITY_FIELDS):
        raise InvalidOptionError(f"{len(others)} options of modalities came; send those of the model's")
    fields = {name: value for name, value in values.items() if name in _DEFAULTS}
    for name in others:
        matched = _OF_MODALITY.fullmatch(name)
        if matched is None:
            raise unknown_option(name, _DEFAULTS)
        fields.setdefault(MODALITY_FIELDS[matched["kind"]], {})[matched["modality"]] = values[name]
    return fields


def _invalid_option(error: ValidationError, *, flags: str) -> InvalidOptionError:
    """The first of the failures as a sentence."""
    failure = error.errors(include_url=False)[0]
    name, value = str(failure["loc"][0]), failure["input"]
    annotation = get_type_hints(SegmentOptions, include_extras=True)[name]
    for kind, field in MODALITY_FIELDS.items():
        if name == field:
            name, annotation = f"{failure['loc'][1]}_{kind}", get_args(annotation)[1]
    if failure["type"] == "too_long":
        count, most = failure["ctx"]["actual_length"], failure["ctx"]["max_length"]
        return InvalidOptionError(f"{name} is {count} values, expected at most {most}")
    if isinstance(why := failure.get("ctx", {}).get("error"), _WrongPoseError):
        return InvalidOptionError(f"{name} {why}")
    shown = str(value)[:SHOWN_CHARACTERS]
    came = repr(shown) if isinstance(value, str) else shown
    return InvalidOptionError(f"{name} is {came}, expected {_expectation(name, annotation, flags)}")


def _expectation(name: str, annotation: Any, flags: str) -> str:  # noqa: ANN401 - a type as it was annotated
    schema = option_schemas().get(name, {"type": "number"})
    if schema["type"] == "boolean":
        return flags
    if choices := schema.get("enum"):
        return f"one of {', '.join(choices)}"
    return next(one for one in get_args(annotation) if isinstance(one, Expected))
