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
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.types import Align, MaskFormat, Priority, SensorPolicy

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"
_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_TEXT = object()  # context of values that are text
_SHOWN_CHARACTERS = 100  # of a rejected name or value, in the message


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


Flag = Annotated[bool, BeforeValidator(_flag)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class SegmentOptions:
    """What a client asks for. Types are strict: 1 is not a flag and "1" not a number.

    Raises:
        pydantic.ValidationError: a wrong type or a value out of range; `parse_text` and `parse_values` raise
            `InvalidOptionError` instead.
    """

    model: Annotated[
        str | None, Expected("text"), Field(description="name or name@version; the server's default when left out")
    ] = None
    depth_scale: Annotated[
        float | None,
        Expected("metres per stored unit in (0, 1000]; millimetres are 0.001"),
        Field(gt=0, le=1000, description="metres per stored unit of depth; 0.001 for integers when left out"),
    ] = None
    depth_invalid: Annotated[
        tuple[float, ...],
        Expected("stored values that mean not measured, such as 65535; 0, negative, NaN and infinite always do"),
        Field(max_length=8, description="stored values of depth that mean not measured, beside 0: 65535, or 65535,1"),
        BeforeValidator(_numbers),
    ] = ()
    align: Annotated[
        Align, Field(description="resize: bring depth of another size to that of rgb; none: reject it")
    ] = "none"
    sensor_policy: Annotated[
        SensorPolicy | None, Field(description="what to do about a broken sensor; the server's setting when left out")
    ] = None
    # None, for transports that send tensors: no file, the label map alone.
    format: Annotated[
        MaskFormat | None,
        Field(description="png: class indices; palette: in the class colours; overlay: blended over rgb; json; npz"),
    ] = "png"
    confidence: Annotated[Flag, Field(description="add the map of the winner's probability; npz always has it")] = False
    gate: Annotated[Flag, Field(description="add the map of how much rgb attends to depth; npz always has it")] = False
    disagreement: Annotated[
        Flag, Field(description="add the map of how much the labels depend on depth, 0 to 1; the pair runs twice")
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


OPTION_NAMES = tuple(field.name for field in dataclasses.fields(SegmentOptions))
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(SegmentOptions)}
_ADAPTER = TypeAdapter(SegmentOptions)


def parse_text(values: Mapping[str, str]) -> SegmentOptions:
    """Options from text, as a query string has them: flags as 1 or 0, several numbers separated by commas.

    Raises:
        InvalidOptionError: an unknown name, or a value that does not parse or is out of range.
    """
    _check_names(values)
    try:
        return _ADAPTER.validate_strings(values, context=_TEXT)
    except ValidationError as error:
        raise _invalid_option(error, flags="1 or 0") from None


def parse_values(values: Mapping[str, Any]) -> SegmentOptions:
    """Options from values of their own types, as JSON and Python have them.

    Raises:
        InvalidOptionError: an unknown name, or a value of the wrong type or out of range.
    """
    _check_names(values)
    try:
        return SegmentOptions(**values)
    except ValidationError as error:
        raise _invalid_option(error, flags="true or false") from None


def given_values(options: SegmentOptions) -> dict[str, Any]:
    """The options that differ from their defaults, which is all that has to be sent."""
    return {name: value for name, value in vars(options).items() if value != _DEFAULTS[name]}


def as_text(options: SegmentOptions) -> dict[str, str]:
    """`given_values` as `parse_text` reads them."""
    return {name: _text(value) for name, value in given_values(options).items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)


def option_schemas() -> dict[str, dict[str, Any]]:
    """JSON schema of each option as clients send it: type, range or choices, default, description."""
    return {name: _without_null(schema) for name, schema in _ADAPTER.json_schema()["properties"].items()}


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
    return InvalidOptionError(f"there is no {kind} {name[:_SHOWN_CHARACTERS]!r}; {hint}")


def _check_names(values: Iterable[str]) -> None:
    for name in values:
        if name not in _DEFAULTS:
            raise unknown_option(name, _DEFAULTS)


def _invalid_option(error: ValidationError, *, flags: str) -> InvalidOptionError:
    """The first of the failures as a sentence."""
    failure = error.errors(include_url=False)[0]
    name, value = str(failure["loc"][0]), failure["input"]
    if failure["type"] == "too_long":
        count, most = failure["ctx"]["actual_length"], failure["ctx"]["max_length"]
        return InvalidOptionError(f"{name} is {count} values, expected at most {most}")
    shown = str(value)[:_SHOWN_CHARACTERS]
    return InvalidOptionError(
        f"{name} is {repr(shown) if isinstance(value, str) else shown}, expected {_expectation(name, flags)}"
    )


def _expectation(name: str, flags: str) -> str:
    schema = option_schemas()[name]
    if schema["type"] == "boolean":
        return flags
    if choices := schema.get("enum"):
        return f"one of {', '.join(choices)}"
    annotation = get_type_hints(SegmentOptions, include_extras=True)[name]
    return next(one for one in get_args(annotation) if isinstance(one, Expected))
