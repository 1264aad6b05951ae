"""The parameters of an inference request as options of a segmentation request.

Every option is a parameter of its own name, but for those that the protocol has another place for: the model is in the
path, the id in the request, and which maps are computed follows from the outputs asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import get_args

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_sets import given_values, unknown_option
from geminifusion_runtime.options import OPTION_NAMES, SEGMENT_OPTIONS, SegmentOptions
from geminifusion_runtime.types import MaskFormat
from geminifusion_service.observability.request_context import is_request_id

Parameter = bool | int | float | str
_MAPS = ("confidence", "gate", "disagreement")
_ELSEWHERE = ("model", "request_id", *_MAPS)
_NAMES = (*(name for name in OPTION_NAMES if name not in _ELSEWHERE), "timeout")
_FOR_THE_TRANSPORT = ("binary_data_output",)
_OF_TRITON = "triton_"  # hints of its clients to its own server, such as triton_enable_empty_final_response
_FILES = tuple(name for name in get_args(MaskFormat) if name != "json")


def options_from(
    parameters: Mapping[str, Parameter],
    *,
    model: str,
    outputs: tuple[str, ...],
    milliseconds_left: float | None,
    request_id: str,
) -> SegmentOptions:
    """The options of every image of a request.

    Args:
        parameters: of the request: options, and Triton's `timeout` in microseconds.
        model: reference of the model that the segmenter is to run.
        outputs: names of the tensors to respond with.
        milliseconds_left: until the call's own deadline, if it has one.
        request_id: for the log; an id that could not go into one is replaced.

    Raises:
        InvalidOptionError: an unknown name or a value outside its range.
    """
    values: dict[str, str] = {}
    for name, value in parameters.items():
        if name in _FOR_THE_TRANSPORT or name.startswith(_OF_TRITON):
            continue
        if name not in _NAMES and (name in _ELSEWHERE or not SEGMENT_OPTIONS.has(name)):
            raise unknown_option(name, _NAMES, kind="parameter")
        values[name] = value if isinstance(value, str) else json.dumps(value)  # noqa: TID251 - read again at once
    if "priority" in values:
        values["priority"] = priority_word(values["priority"])
    if values.get("format", "png") not in _FILES:
        raise InvalidOptionError(f"format is {values['format'][:100]!r}, expected one of {', '.join(_FILES)}")
    limit_ms = timeout_ms(values.pop("timeout", "0"))
    options = SEGMENT_OPTIONS.parse_text(values)
    if milliseconds_left is not None:
        milliseconds_left = max(milliseconds_left, 0.001)  # one that has just passed is 0 or less
    deadlines = [one for one in (options.deadline_ms, limit_ms, milliseconds_left) if one is not None]
    return SEGMENT_OPTIONS.parse_values(
        {
            **given_values(options),
            "model": model,
            "format": options.format if "mask" in outputs else None,
            "deadline_ms": min(deadlines, default=None),
            "request_id": request_id if is_request_id(request_id) else None,
            **{name: name in outputs for name in _MAPS},
            "gate": "gate" in outputs or "modality_weights" in outputs,
        }
    )


def timeout_ms(microseconds: str) -> float | None:
    """Triton's timeout; 0 is none."""
    try:
        return float(microseconds) / 1000 or None
    except ValueError:
        raise InvalidOptionError(f"timeout is {microseconds[:100]!r}, expected a number of microseconds") from None


def priority_word(level: str) -> str:
    """Triton's levels, of which 1 is the most urgent and 0 the default, or our words."""
    if level.replace(".", "", 1).isdecimal():
        return "high" if float(level) == 1 else "normal"
    return level
