"""The query string of `POST /v1/segment` as options."""

from __future__ import annotations

from collections.abc import Sequence

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.options import SegmentOptions, parse_text
from geminifusion_service.transport.http.negotiation import preferred_format

_MAPS = ("confidence", "gate", "disagreement")
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
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidOptionError("an option comes twice; send each once")
    values.setdefault("request_id", request_id)
    if "format" not in values:
        values["format"] = preferred_format(accept)
    options = parse_text(values)
    if options.format not in _CARRY_MAPS and any(getattr(options, name) for name in _MAPS):
        raise InvalidOptionError(
            f"format={options.format} cannot carry confidence, gate or disagreement; ask for format=json or format=npz"
        )
    return options
