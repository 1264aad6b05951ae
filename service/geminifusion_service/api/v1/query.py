"""The query string of `POST /v1/segment` as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geminifusion_runtime.encoding.masks import MASK_FORMATS
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_service.request import SegmentOptions
from geminifusion_service.transport.http.negotiation import preferred_format

_CARRY_MAPS = ("json", "npz")


def options_from_query(pairs: Sequence[tuple[str, str]], *, request_id: str, accept: str | None) -> SegmentOptions:
    """The options of a request.

    Args:
        pairs: names and values in the query string.
        request_id: for a query that names none.
        accept: the header of that name, which decides on the format where the query does not.

    Raises:
        InvalidOptionError: an unknown name, one that comes twice, a value that does not parse or is out of range, or a
            map that the format cannot carry.
    """
    query = dict(pairs)
    for name in query:
        if name not in _OPTIONS:
            raise InvalidOptionError(f"there is no option {name[:100]!r}; expected {', '.join(_OPTIONS)}")
    if len(query) != len(pairs):
        raise InvalidOptionError("an option comes twice; send each once")
    values: dict[str, Any] = {name: _OPTIONS[name](name, text) for name, text in query.items()}
    values.setdefault("request_id", request_id)
    if "format" not in values:
        values["format"] = preferred_format(accept)
    options = SegmentOptions(**values)
    if options.format not in _CARRY_MAPS and (options.confidence or options.gate or options.disagreement):
        raise InvalidOptionError(
            f"format={options.format} cannot carry confidence, gate or disagreement; ask for format=json or format=npz"
        )
    return options


def _text(_: str, text: str) -> str:
    return text


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidOptionError(f"{name} is {text[:100]!r}, expected a number") from None


def _numbers(name: str, text: str) -> tuple[float, ...]:
    return tuple(_number(name, part) for part in text.split(",")) if text else ()


def _flag(name: str, text: str) -> bool:
    values: Mapping[str, bool] = {"1": True, "true": True, "0": False, "false": False}
    if text.lower() not in values:
        raise InvalidOptionError(f"{name} is {text[:100]!r}, expected 1 or 0")
    return values[text.lower()]


def _format(name: str, text: str) -> str:
    if text not in MASK_FORMATS:
        raise InvalidOptionError(f"{name} is {text[:100]!r}, expected one of {', '.join(MASK_FORMATS)}")
    return text


_OPTIONS: dict[str, Callable[[str, str], object]] = {
    "model": _text,
    "depth_scale": _number,
    "depth_invalid": _numbers,
    "align": _text,
    "sensor_policy": _text,
    "format": _format,
    "confidence": _flag,
    "gate": _flag,
    "disagreement": _flag,
    "priority": _text,
    "deadline_ms": _number,
    "request_id": _text,
}
