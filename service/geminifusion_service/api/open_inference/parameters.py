"""The parameters of an inference request as options of a request of its model's task.

Every option is a parameter of its own name, but for those that the protocol has another place for: the model is in the
path, the id in the request, and some follow from the outputs asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_sets import OptionSet, given_values, unknown_option
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.options import SEGMENT_OPTIONS, SegmentOptions
from geminifusion_runtime.types import MaskFormat
from geminifusion_service.observability.request_context import is_request_id

Options = TypeVar("Options", bound=RequestOptions)

Parameter = bool | int | float | str
_IN_THE_REQUEST = ("model", "request_id")
_MAPS = ("confidence", "gate", "disagreement")
_FOR_THE_TRANSPORT = ("binary_data_output",)
_OF_TRITON = "triton_"  # hints of its clients to its own server, such as triton_enable_empty_final_response
_FILES = tuple(name for name in get_args(MaskFormat) if name != "json")


def task_options(
    options: OptionSet[Options],
    parameters: Mapping[str, Parameter],
    *,
    model: str,
    milliseconds_left: float | None,
    request_id: str,
    elsewhere: Sequence[str] = (),
    formats: Sequence[str] = (),
    settled: Callable[[Options], Mapping[str, Any]],
) -> Options:
    """The options of every item of a request.

    Args:
        options: of the task.
        parameters: of the request: options, and Triton's `timeout` in microseconds.
        model: reference of the model that the segmenter is to run.
        milliseconds_left: until the call's own deadline, if it has one.
        request_id: for the log; an id that could not go into one is replaced.
        elsewhere: options that are no parameters, beside the model and the id.
        formats: choices of `format` that are a file, where it is a parameter.
        settled: options that follow from the outputs asked for, given those in the parameters.

    Raises:
        InvalidOptionError: an unknown name or a value outside its range.
    """
    elsewhere = (*_IN_THE_REQUEST, *elsewhere)
    known = (*(name for name in options.names if name not in elsewhere), "timeout")
    values: dict[str, str] = {}
    for name, value in parameters.items():
        if name in _FOR_THE_TRANSPORT or name.startswith(_OF_TRITON):
            continue
        if name not in known and (name in elsewhere or not options.has(name)):
            raise unknown_option(name, known, kind="parameter")
        values[name] = value if isinstance(value, str) else json.dumps(value)  # noqa: TID251 - read again at once
    if "priority" in values:
        values["priority"] = _priority(values["priority"])
    if "format" in values and values["format"] not in formats:
        raise InvalidOptionError(f"format is {values['format'][:100]!r}, expected one of {', '.join(formats)}")
    limit_ms = _timeout_ms(values.pop("timeout", "0"))
    given = options.parse_text(values)
    if milliseconds_left is not None:
        milliseconds_left = max(milliseconds_left, 0.001)  # one that has just passed is 0 or less
    deadlines = [one for one in (given.deadline_ms, limit_ms, milliseconds_left) if one is not None]
    return options.parse_values(
        {
            **given_values(given),
            "model": model,
            "deadline_ms": min(deadlines, default=None),
            "request_id": request_id if is_request_id(request_id) else None,
            **settled(given),
        }
    )


def options_from(
    parameters: Mapping[str, Parameter],
    *,
    model: str,
    outputs: Sequence[str],
    milliseconds_left: float | None,
    request_id: str,
) -> SegmentOptions:
    """The options of a segmentation request; `outputs` are the names of the tensors to respond with.

    Raises:
        InvalidOptionError: see `task_options`.
    """
    return task_options(
        SEGMENT_OPTIONS,
        parameters,
        model=model,
        milliseconds_left=milliseconds_left,
        request_id=request_id,
        elsewhere=_MAPS,
        formats=_FILES,
        settled=lambda given: {
            "format": given.format if "mask" in outputs else None,
            **{name: name in outputs for name in _MAPS},
            "gate": "gate" in outputs or "modality_weights" in outputs,
        },
    )


def _timeout_ms(microseconds: str) -> float | None:
    """Triton's timeout; 0 is none."""
    try:
        return float(microseconds) / 1000 or None
    except ValueError:
        raise InvalidOptionError(f"timeout is {microseconds[:100]!r}, expected a number of microseconds") from None


def _priority(level: str) -> str:
    """Triton's levels, of which 1 is the most urgent and 0 the default, or our words."""
    if level.replace(".", "", 1).isdecimal():
        return "high" if float(level) == 1 else "normal"
    return level
