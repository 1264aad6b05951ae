"""Content negotiation: the response format and compression that request headers prefer (RFC 9110, section 12)."""

from __future__ import annotations

from geminifusion_runtime.encoding.masks import MEDIA_TYPES
from geminifusion_runtime.types import MaskFormat

# By media type; image/png, which three formats have, means png.
_FORMATS: dict[str, MaskFormat] = {MEDIA_TYPES[name]: name for name in ("npz", "json", "png")}


def preferred_format(accept: str | None) -> MaskFormat:
    """The format whose media type `Accept` ranks first; png if it names none of ours, or ranks png as high.

    Unknown types are no reason to reject a request: a server may disregard the header.
    """
    if accept is None or accept == "*/*":
        return "png"
    ranks = _qualities(accept)
    best: MaskFormat = "png"
    best_quality = _of_type(MEDIA_TYPES["png"], ranks)
    for media_type, mask_format in _FORMATS.items():
        quality = _of_type(media_type, ranks)
        if quality > best_quality:
            best, best_quality = mask_format, quality
    return best


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
