"""The parameters of an inference request as options of a segmentation request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from geminifusion_runtime.encoding.masks import MASK_FORMATS
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_service.observability.request_context import is_request_id
from geminifusion_service.request import SegmentOptions

Parameter = bool | int | float | str
_MASK_FILES = tuple(name for name in MASK_FORMATS if name != "json")
_FOR_THE_TRANSPORT = ("binary_data_output",)
_OF_TRITON = "triton_"  # hints of its clients to its own server, such as triton_enable_empty_final_response


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
        parameters: of the request; see the README for their names.
        model: what the segmenter is to be asked for.
        outputs: the tensors to be answered.
        milliseconds_left: until the call's own deadline, if it has one.
        request_id: for the log; ids that could not go into one are replaced.

    Raises:
        InvalidOptionError: an unknown name or a value outside its range.
    """
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in _FOR_THE_TRANSPORT or name.startswith(_OF_TRITON):
            continue
        if name not in _READERS:
            raise InvalidOptionError(f"there is no parameter {name[:100]!r}; expected {', '.join(_READERS)}")
        values[name] = _READERS[name](name, value)
    if milliseconds_left is not None:
        milliseconds_left = max(milliseconds_left, 0.001)  # one that has just passed is 0 or less
    deadlines = [values.pop("deadline_ms", None), values.pop("timeout", None), milliseconds_left]
    mask_format = values.pop("format", "png")
    if mask_format not in _MASK_FILES:
        raise InvalidOptionError(f"format is {mask_format[:100]!r}, expected one of {', '.join(_MASK_FILES)}")
    return SegmentOptions(
        model=model,
        format=mask_format if "mask" in outputs else None,
        confidence="confidence" in outputs,
        gate="gate" in outputs,
        disagreement="disagreement" in outputs,
        deadline_ms=min((deadline for deadline in deadlines if deadline is not None), default=None),
        request_id=request_id if is_request_id(request_id) else None,
        **values,
    )


def _text(name: str, value: Parameter) -> str:
    if not isinstance(value, str):
        raise InvalidOptionError(f"{name} is {value!r}, expected text")
    return value


def _number(name: str, value: Parameter) -> float:
    if isinstance(value, bool):
        raise InvalidOptionError(f"{name} is {value!r}, expected a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise InvalidOptionError(f"{name} is {str(value)[:100]!r}, expected a number") from None


def _numbers(name: str, value: Parameter) -> tuple[float, ...]:
    """A number, or several in a text, separated by commas."""
    parts = value.split(",") if isinstance(value, str) else [value]
    return tuple(_number(name, part) for part in parts)


def _microseconds_as_ms(name: str, value: Parameter) -> float | None:
    """Triton's timeout; 0 is none."""
    return _number(name, value) / 1000 or None


def _priority(name: str, value: Parameter) -> str:
    """Triton's levels, of which 1 is the most urgent and 0 the default, or our words."""
    if isinstance(value, str) and not value.isdecimal():
        return value
    return "high" if _number(name, value) == 1 else "normal"


_READERS: dict[str, Callable[[str, Parameter], object]] = {
    "depth_scale": _number,
    "depth_invalid": _numbers,
    "align": _text,
    "sensor_policy": _text,
    "format": _text,
    "priority": _priority,
    "deadline_ms": _number,
    "timeout": _microseconds_as_ms,
}
