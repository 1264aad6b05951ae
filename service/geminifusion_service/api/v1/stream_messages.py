"""The messages of the WebSocket stream: a JSON head, and the bytes it speaks of.

A binary message is the length of the head (4 bytes, little-endian), the head (UTF-8 JSON), and then the files one after
the other, in the order in which the head lists their sizes. A text message is a head alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from geminifusion_runtime.errors import GeminiFusionError, InvalidOptionError
from geminifusion_runtime.options import SegmentOptions, parse_values
from geminifusion_service.api.v1.responses import document
from geminifusion_service.errors import MalformedBodyError
from geminifusion_service.observability.request_context import is_request_id
from geminifusion_service.request import SegmentRequest, SegmentResponse

_LENGTH = struct.Struct("<I")
_MAX_HEAD = 64 * 1024
_MAX_IMAGES = 16


def request_from(message: bytes) -> SegmentRequest:
    """The request in a binary message.

    Raises:
        MalformedBodyError: the message is not put together as it should be.
        InvalidOptionError: an unknown option, or a value of the wrong kind or out of range.
    """
    head, start = _head(message)
    images = _cut(head.pop("images", None), message, start)
    return SegmentRequest(images=images, options=_options(head))


def request_id_of(message: bytes) -> str:
    """The id in a message, as far as it has one that can be read; else nothing."""
    try:
        name = _head(message)[0].get("request_id", "")
    except MalformedBodyError:
        return ""
    return name if isinstance(name, str) and is_request_id(name) else ""


def answer_message(number: int, response: SegmentResponse) -> bytes | str:
    """The answer of frame `number`: text where the JSON has everything, else a head with the file behind it."""
    facts = {"frame": number, **document(response)}
    if response.format == "json":
        return json.dumps(facts)
    height, width = response.height, response.width
    facts["mask"] = {"format": response.format, "bytes": len(response.mask), "size": [height, width]}
    head = json.dumps(facts).encode()
    return b"".join((_LENGTH.pack(len(head)), head, response.mask))


def error_message(error: GeminiFusionError, *, number: int | None = None, request_id: str = "") -> str:
    """An error of frame `number`; without one, that which ends the stream."""
    facts: dict[str, Any] = {} if number is None else {"frame": number}
    if request_id:
        facts["request_id"] = request_id
    facts["error"] = {
        "code": error.code,
        "title": error.title,
        "status": int(error.http_status),
        "detail": str(error),
    }
    if error.retry_after_s is not None:
        facts["error"]["retry_after_s"] = error.retry_after_s
    return json.dumps(facts)


def _head(message: bytes) -> tuple[dict[str, Any], int]:
    """The head and where it ends."""
    if len(message) < _LENGTH.size:
        raise MalformedBodyError(
            f"the message has {len(message)} bytes; send the length of the head (4 bytes, little-endian), the head, "
            "and the images"
        )
    (length,) = _LENGTH.unpack_from(message)
    end = _LENGTH.size + length
    if length > _MAX_HEAD or end > len(message):
        raise MalformedBodyError(
            f"the head should have {length} bytes, but it may have at most {_MAX_HEAD} and the message has "
            f"{len(message)}; send its length as 4 bytes, little-endian"
        )
    try:
        head = json.loads(message[_LENGTH.size : end])
    except (ValueError, RecursionError):
        raise MalformedBodyError("the head is no JSON text") from None
    if not isinstance(head, dict):
        raise MalformedBodyError('the head is not a JSON object, such as {"images": {"rgb": 1234, "depth": 567}}')
    return head, end


def _cut(sizes: object, message: bytes, start: int) -> dict[str, bytes]:
    if not isinstance(sizes, dict) or len(sizes) > _MAX_IMAGES:
        raise MalformedBodyError(
            'the head needs "images", an object of the size in bytes of each, in the order in which they follow: '
            '{"images": {"rgb": 1234, "depth": 567}}'
        )
    images = {}
    for name, size in sizes.items():
        if type(size) is not int or size < 0:
            raise MalformedBodyError(f"the size of {name[:100]!r} is {str(size)[:100]}, expected a count of bytes")
        images[name] = message[start : start + size]
        start += size
    if start != len(message):
        raise MalformedBodyError(
            f"head and images should have {start} bytes together, but the message has {len(message)}"
        )
    return images


def _options(head: Mapping[str, object]) -> SegmentOptions:
    for name, value in head.items():
        if value is None:
            raise InvalidOptionError(f"{name[:100]} is null; leave it out for its default")
    return parse_values(head)
