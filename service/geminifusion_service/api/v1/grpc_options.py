"""Options as fields of a task's request in protos/geminifusion/v1, in both directions.

A field has the name of its option. A value of an enum is named after a choice: `SENSOR_POLICY_DROP_MODALITY` is
`drop-modality` of `sensor_policy`. The options `NAME_scale` and `NAME_invalid` of a modality are entries of the maps
`scales` and `invalids`. The client imports this module too: it needs protobuf, and nothing of the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_sets import OptionSet, given_values
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.options import SEGMENT_OPTIONS, SegmentOptions
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS, DetectOptions
from geminifusion_runtime.tasks.translation.options import TRANSLATE_OPTIONS, TranslateOptions
from geminifusion_service.pb import detection_pb2, translation_pb2
from geminifusion_service.pb import segmentation_pb2 as pb

Options = TypeVar("Options", bound=RequestOptions)


class MessageOptions(Generic[Options]):
    """The options of one task as fields of its request.

    Args:
        message: the class of the request.
        options: of the task.
        words: choices by what enums call them, where they differ: over gRPC the format without a file is named after
            what comes in its place.
    """

    def __init__(
        self,
        message: Any,  # noqa: ANN401 - generated classes have no common type
        options: OptionSet[Options],
        words: Mapping[str, str] | None = None,
    ) -> None:
        self._options = options
        self._fields = {name: message.DESCRIPTOR.fields_by_name[name] for name in options.names}
        self._choices = {
            name: {number: (words or {}).get(word, word) for number, word in _words(field).items()}
            for name, field in self._fields.items()
            if field.enum_type is not None
        }
        self._numbers = {
            name: {choice: number for number, choice in all_.items()} for name, all_ in self._choices.items()
        }

    def parse(self, message: Any, *, milliseconds_left: float | None = None) -> Options:  # noqa: ANN401
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
            if name in self._choices:
                values[name] = self._choice(name, value)
            elif name in self._fields:
                values[name] = value
            elif name == "scales":
                values |= {f"{modality}_scale": scale for modality, scale in value.items()}
            elif name == "invalids":
                values |= {f"{modality}_invalid": tuple(marks.values) for modality, marks in value.items()}
        if milliseconds_left is not None:
            milliseconds_left = max(milliseconds_left, 0.001)  # one that has just passed leaves 0 or less
            values["deadline_ms"] = min(values.get("deadline_ms", milliseconds_left), milliseconds_left)
        return self._options.parse_values(values)

    def fields(self, options: Options) -> dict[str, Any]:
        """The fields that carry `options`, without those at their default."""
        fields: dict[str, Any] = {
            name: self.number(name, value) if name in self._numbers else value
            for name, value in given_values(options).items()
            if name in self._fields
        }
        if scales := getattr(options, "scales", None):
            fields["scales"] = scales
        if invalids := getattr(options, "invalids", None):
            fields["invalids"] = {name: pb.Values(values=values) for name, values in invalids.items()}
        return fields

    def number(self, name: str, choice: str) -> Any:  # noqa: ANN401 - stubs have a type for each enum
        """The number of one choice of an option."""
        return self._numbers[name][choice]

    def _choice(self, name: str, number: int) -> str:
        known = self._choices[name]
        if number not in known:
            raise InvalidOptionError(f"{name} is {number}, expected one of {', '.join(map(str, (0, *known)))}")
        return known[number]


def _words(field: Any) -> dict[int, str]:  # noqa: ANN401 - a FieldDescriptor, which has no type
    """The words of an enum by their numbers; 0, for a field that is left out, stands for the default."""
    values = field.enum_type.values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower().replace("_", "-") for value in values[1:]}


SEGMENT_MESSAGES: MessageOptions[SegmentOptions] = MessageOptions(pb.SegmentRequest, SEGMENT_OPTIONS, {"rle": "json"})
DETECT_MESSAGES: MessageOptions[DetectOptions] = MessageOptions(
    detection_pb2.DetectRequest, DETECT_OPTIONS, {"boxes": "json"}
)
TRANSLATE_MESSAGES: MessageOptions[TranslateOptions] = MessageOptions(
    translation_pb2.TranslateRequest, TRANSLATE_OPTIONS
)
