"""The messages of the WebSocket stream: a JSON header, followed by files.

A binary message is the length of the header (4 bytes, little-endian), the header (UTF-8 JSON), and then the files one
after the other, in the order in which the header lists their sizes. A text message is a header alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from geminifusion_runtime import strict_json
from geminifusion_runtime.errors import GeminiFusionError, InvalidOptionError
from geminifusion_runtime.options import SEGMENT_OPTIONS, SegmentOptions
from geminifusion_service.api.v1.responses import response_document
from geminifusion_service.errors import MalformedBodyError
from geminifusion_service.observability.request_context import is_request_id
from geminifusion_service.request import SegmentResponse, TaskRequest

_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 64 * 1024
_MAX_IMAGES = 16


def request_from(message: bytes) -> TaskRequest:
    """The request in a binary message.

    Raises:
        MalformedBodyError: the message does not have the parts described above.
        InvalidOptionError: an unknown option, or a value of the wrong type or out of range.
    """
    header, start = _header(message)
    images = _cut(header.pop("images", None), message, start)
    return TaskRequest(parts=images, options=_options(header))


def request_id_of(message: bytes) -> str:
    """The id in a message; empty where none can be read."""
    try:
        name = _header(message)[0].get("request_id", "")
    except MalformedBodyError:
        return ""
    return name if isinstance(name, str) and is_request_id(name) else ""


def response_message(number: int, response: SegmentResponse) -> bytes | str:
    """The response to frame `number`: text where the JSON has everything, else a header with the file behind it."""
    facts = {"frame": number, **response_document(response)}
    if response.format == "json":
        return strict_json.dumps(facts)
    height, width = response.height, response.width
    facts["mask"] = {"format": response.format, "bytes": len(response.mask), "size": [height, width]}
    header = strict_json.dumps(facts).encode()
    return b"".join((_LENGTH.pack(len(header)), header, response.mask))


def error_message(error: GeminiFusionError, *, number: int | None = None, request_id: str = "") -> str:
    """The error of frame `number`, or without one that of the whole stream."""
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
    return strict_json.dumps(facts)


def _header(message: bytes) -> tuple[dict[str, Any], int]:
    """The header, and its end in the message."""
    if len(message) < _LENGTH.size:
        raise MalformedBodyError(
            f"the message has {len(message)} bytes; send the length of the header (4 bytes, little-endian), "
            "the header, and the images"
        )
    (length,) = _LENGTH.unpack_from(message)
    end = _LENGTH.size + length
    if length > _MAX_HEADER_BYTES or end > len(message):
        raise MalformedBodyError(
            f"the header should have {length} bytes, but it may have at most {_MAX_HEADER_BYTES} and the message has "
            f"{len(message)}; send its length as 4 bytes, little-endian"
        )
    try:
        header = json.loads(message[_LENGTH.size : end])
    except (ValueError, RecursionError):
        raise MalformedBodyError("the header is no JSON text") from None
    if not isinstance(header, dict):
        raise MalformedBodyError('the header is not a JSON object, such as {"images": {"rgb": 1234, "depth": 567}}')
    return header, end


def _cut(sizes: object, message: bytes, start: int) -> dict[str, bytes]:
    if not isinstance(sizes, dict) or len(sizes) > _MAX_IMAGES:
        raise MalformedBodyError(
            'the header needs "images", an object of the size in bytes of each, in the order in which they follow: '
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
            f"header and images should have {start} bytes together, but the message has {len(message)}"
        )
    return images


def _options(header: Mapping[str, object]) -> SegmentOptions:
    for name, value in header.items():
        if value is None:
            raise InvalidOptionError(f"{name[:100]} is null; leave it out for its default")
    return SEGMENT_OPTIONS.parse_values(header)
