"""Options as fields of `DetectRequest` in protos/geminifusion/v1, in both directions; see `grpc_options`.

The client imports this module too: it needs protobuf, and nothing of the server.
"""

from __future__ import annotations

from typing import Any

from geminifusion_runtime.option_sets import given_values
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS, DetectOptions
from geminifusion_service.api.v1.grpc_options import choice_of, choices, earlier_deadline
from geminifusion_service.pb import detection_pb2 as pb

_FIELDS = {name: pb.DetectRequest.DESCRIPTOR.fields_by_name[name] for name in DETECT_OPTIONS.names}
_WORDS = {"boxes": "json"}  # over gRPC the format without a file is named after what comes in its place
_CHOICES = {
    name: {number: _WORDS.get(word, word) for number, word in choices(field).items()}
    for name, field in _FIELDS.items()
    if field.enum_type is not None
}
_NUMBERS = {name: {choice: number for number, choice in known.items()} for name, known in _CHOICES.items()}


def detect_options_from_message(message: pb.DetectRequest, *, milliseconds_left: float | None = None) -> DetectOptions:
    """The options in a message; the deadline is the earlier of the message's and the call's own.

    Args:
        message: the request.
        milliseconds_left: until the call's own deadline, if it has one.

    Raises:
        InvalidOptionError: a value out of range.
    """
    values: dict[str, Any] = {
        field.name: choice_of(field.name, value, _CHOICES[field.name]) if field.name in _CHOICES else value
        for field, value in message.ListFields()
        if field.name in _FIELDS
    }
    return DETECT_OPTIONS.parse_values(earlier_deadline(values, milliseconds_left))


def detect_message_fields(options: DetectOptions) -> dict[str, Any]:
    """The fields that carry `options`, without those at their default."""
    return {
        name: format_number(value) if name == "format" else _NUMBERS[name][value] if name in _NUMBERS else value
        for name, value in given_values(options).items()
    }


def format_number(choice: str) -> Any:  # noqa: ANN401 - stubs have a type for each enum
    """The number of a format."""
    return _NUMBERS["format"][choice]
