"""Options as fields of `SegmentRequest` in protos/geminifusion/v1, in both directions.

A field has the name of its option. A value of an enum is named after a choice: `SENSOR_POLICY_DROP_MODALITY` is
`drop-modality` of `sensor_policy`. The options `NAME_scale` and `NAME_invalid` of a modality are entries of the maps
`scales` and `invalids`. The client imports this module too: it needs protobuf, and nothing of the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_sets import given_values
from geminifusion_runtime.options import OPTION_NAMES, SEGMENT_OPTIONS, SegmentOptions
from geminifusion_service.pb import segmentation_pb2 as pb

_FIELDS = {name: pb.SegmentRequest.DESCRIPTOR.fields_by_name[name] for name in OPTION_NAMES}
_CHOICE_OF_WORD = {"rle": "json"}  # over gRPC the format without a file is named after what comes in its place


def choices(field: Any) -> dict[int, str]:  # noqa: ANN401 - a FieldDescriptor, which has no type
    """The choices of an option's field by their numbers; 0, for a field that is left out, stands for the default."""
    values = field.enum_type.values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower().replace("_", "-") for value in values[1:]}


def choice_of(name: str, number: int, known: Mapping[int, str]) -> str:
    """The choice of a number.

    Raises:
        InvalidOptionError: there is no such number.
    """
    if number not in known:
        raise InvalidOptionError(f"{name} is {number}, expected one of {', '.join(map(str, (0, *known)))}")
    return known[number]


def earlier_deadline(values: dict[str, Any], milliseconds_left: float | None) -> dict[str, Any]:
    """Options whose deadline is the earlier of their own and that of the call, if it has one."""
    if milliseconds_left is None:
        return values
    milliseconds_left = max(milliseconds_left, 0.001)  # one that has just passed leaves 0 or less
    return values | {"deadline_ms": min(values.get("deadline_ms", milliseconds_left), milliseconds_left)}


_CHOICES = {
    name: {number: _CHOICE_OF_WORD.get(word, word) for number, word in choices(field).items()}
    for name, field in _FIELDS.items()
    if field.enum_type is not None
}
_NUMBERS = {name: {choice: number for number, choice in known.items()} for name, known in _CHOICES.items()}


def options_from_message(message: pb.SegmentRequest, *, milliseconds_left: float | None = None) -> SegmentOptions:
    """The options in a message; the deadline is the earlier of the message's and the call's own.

    Args:
        message: the request.
        milliseconds_left: until the call's own deadline, if it has one.

    Raises:
        InvalidOptionError: a value out of range.
    """
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        name = field.name
        if name in _CHOICES:
            values[name] = choice_of(name, value, _CHOICES[name])
        elif name in _FIELDS:
            values[name] = value
        elif name == "scales":
            values |= {f"{modality}_scale": scale for modality, scale in value.items()}
        elif name == "invalids":
            values |= {f"{modality}_invalid": tuple(marks.values) for modality, marks in value.items()}
    return SEGMENT_OPTIONS.parse_values(earlier_deadline(values, milliseconds_left))


def message_fields(options: SegmentOptions) -> dict[str, Any]:
    """The fields that carry `options`, without those at their default."""
    fields: dict[str, Any] = {
        name: enum_number(name, value) if name in _NUMBERS else value
        for name, value in given_values(options).items()
        if name in _FIELDS
    }
    if options.scales:
        fields["scales"] = options.scales
    if options.invalids:
        fields["invalids"] = {name: pb.Values(values=values) for name, values in options.invalids.items()}
    return fields


def enum_number(name: str, choice: str) -> Any:  # noqa: ANN401 - stubs have a type for each enum
    """The number of one choice of an option."""
    return _NUMBERS[name][choice]
