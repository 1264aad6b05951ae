"""What `POST /v1/segment` is asked for by its query string and by content negotiation (RFC 9110, section 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from geminifusion_runtime.encoding.masks import MEDIA_TYPES
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.options import SEGMENT_OPTIONS, SegmentOptions
from geminifusion_runtime.types import MaskFormat

T = TypeVar("T")

_MAPS = ("confidence", "gate", "disagreement")
_CARRY_MAPS = ("json", "npz")
# By media type; image/png, which palette and overlay share, means png.
_FORMATS: dict[str, MaskFormat] = {MEDIA_TYPES[name]: name for name in ("npz", "json", "ply", "pcd", "png")}


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
    values = query_values(pairs, request_id=request_id)
    if "format" not in values:
        values["format"] = preferred_format(accept)
    options = SEGMENT_OPTIONS.parse_text(values)
    if options.format not in _CARRY_MAPS and any(getattr(options, name) for name in _MAPS):
        raise InvalidOptionError(
            f"format={options.format} cannot carry confidence, gate or disagreement; ask for format=json or format=npz"
        )
    return options


def query_values(pairs: Sequence[tuple[str, str]], *, request_id: str) -> dict[str, str]:
    """The values in a query string, the id of the request among them.

    Raises:
        InvalidOptionError: one comes twice.
    """
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidOptionError("an option comes twice; send each once")
    values.setdefault("request_id", request_id)
    return values


def preferred_format(accept: str | None) -> MaskFormat:
    """The format whose media type `Accept` ranks first; png if it names none of ours, or ranks png as high."""
    return ranked_first(accept, _FORMATS, default="png")


def ranked_first(accept: str | None, formats: Mapping[str, T], *, default: T) -> T:
    """The format whose media type `Accept` ranks first; the default if it names none of them, or ranks that as high.

    Unknown types are no reason to reject a request: a server may disregard the header.

    Args:
        formats: by media type, the default among them.
    """
    if accept is None or accept == "*/*":
        return default
    ranks = _qualities(accept)
    qualities = {one: _of_type(media_type, ranks) for media_type, one in formats.items()}
    best = max(qualities, key=lambda one: qualities[one])
    return best if qualities[best] > qualities[default] else default


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether the response may be compressed with gzip."""
    if accept_encoding is None:
        return False
    ranks = _qualities(accept_encoding)
    return ranks.get("gzip", ranks.get("*", 0.0)) > 0


def _of_type(media_type: str, ranks: dict[str, float]) -> float:
    """Quality of a media type; the most specific range decides."""
    group = media_type.partition("/")[0] + "/*"
    return next((ranks[name] for name in (media_type, group, "*/*") if name in ranks), 0.0)


def _qualities(header: str) -> dict[str, float]:
    """The value of `q` by name, 1 where it is missing and 0 where it is not a number from 0 to 1."""
    ranks = {}
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                quality = _number(value)
        ranks[name] = quality
    return ranks


def _number(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
