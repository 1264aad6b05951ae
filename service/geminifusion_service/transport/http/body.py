"""Request bodies: read under limits, then split into parts; and work that is cancelled when its client disconnects.

The parts of a form are found in one bytes object. A general form parser reads line by line and spools files to disk,
which costs more than decoding the JPEG inside.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from email.message import Message
from typing import Any, TypeVar

from starlette.requests import Request

from geminifusion_runtime.errors import BadRequestError
from geminifusion_service.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    EmptyBodyError,
    MalformedBodyError,
    QueueFullError,
    UnsupportedBodyError,
)
from geminifusion_service.pipeline.budget import Holding
from geminifusion_service.transport.base64_text import decode_base64
from geminifusion_service.transport.http.json_body import parse_json

MULTIPART, JSON = "multipart/form-data", "application/json"
T = TypeVar("T")
# The forms that HTTP libraries write; the general header parser takes a tenth of a millisecond for each.
_USUAL_TYPE = re.compile(r"multipart/form-data; boundary=([0-9A-Za-z'()+_./:=?-]{1,70})")
_USUAL_NAME = re.compile(rb'[Cc]ontent-[Dd]isposition: form-data; name="([0-9A-Za-z_.-]{1,100})"(?=[;\r]|$)')
_TRANSFER_ENCODING = re.compile(rb"(?im)^content-transfer-encoding:[ \t]*([^\s;]+)")
_AS_IS = (b"binary", b"8bit", b"7bit")
_MAX_PARTS = 16
_MAX_PART_HEADERS = 8192
_MAX_JSON_VALUES = 64  # of an object of texts; more than its fields, so that these are what the error is about


def check_encoding(content_encoding: str | None) -> None:
    """Reject a compressed body: images are compressed already, and a decompression bomb is recognized too late.

    Raises:
        UnsupportedBodyError: the body is compressed.
    """
    if content_encoding is not None and content_encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedBodyError(
            f"the content encoding is {content_encoding[:100]!r}; send the body as it is, images are compressed already"
        )


@dataclass
class IncomingBody:
    """The body of a request while it arrives: `request.state.incoming` where the connection counts it.

    Attributes:
        holding: has its bytes, from their arrival until the response has left.
        refusal: why the rest is not taken; set before `request.receive` returns.
    """

    holding: Holding
    refusal: QueueFullError | None = None

    def raise_refusal(self) -> None:
        """Raise the refusal, if there is one, and forget it: its traceback refers to this object."""
        if self.refusal is not None:
            raise self._take_refusal()

    def _take_refusal(self) -> QueueFullError:
        refusal, self.refusal = self.refusal, None
        assert refusal is not None
        return refusal


def holding_of(request: Request) -> Holding | None:
    """What the connection holds for a request, for its admission."""
    incoming: IncomingBody | None = getattr(request.state, "incoming", None)
    return incoming.holding if incoming is not None else None


async def read_body(request: Request, *, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body of a request that has its context (see `RequestContextMiddleware`).

    Raises:
        QueueFullError: requests in flight hold too many bytes, or this body came too slowly while others waited.
        BodyTooLargeError: announced as longer than `max_bytes`, or found to be.
        BodyTimeoutError: not complete after `timeout_s`.
        EmptyBodyError: no bytes.
        MalformedBodyError: the client disconnected before the end.
    """
    if request.state.content_length > max_bytes:
        raise _too_large(request.state.content_length, max_bytes)
    incoming: IncomingBody | None = getattr(request.state, "incoming", None)
    chunks, length = [], 0
    try:
        async with asyncio.timeout(timeout_s):
            more = True
            while more:
                message = await request.receive()
                if incoming is not None:
                    incoming.raise_refusal()
                if message["type"] == "http.disconnect":
                    raise MalformedBodyError("the connection closed before the body was complete")
                more = message.get("more_body", False)
                if chunk := message.get("body", b""):
                    length += len(chunk)
                    if length > max_bytes:
                        raise _too_large(length, max_bytes)
                    chunks.append(chunk)
    except TimeoutError:
        came = length if incoming is None else incoming.holding.amounts["bytes"]
        raise BodyTimeoutError(
            f"{came} bytes of the body came within {timeout_s:g} s and then not the rest; send it faster"
        ) from None
    if not length:
        raise EmptyBodyError("the body is empty; post the images as multipart/form-data or JSON")
    return b"".join(chunks)


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await the work for a request whose body has been read, and cancel it when the client disconnects.

    A request that nobody waits for would take a place in a batch from others.

    Raises:
        BadRequestError: the client disconnected.
    """
    this = asyncio.current_task()
    assert this is not None, "called from a task"
    is_done = is_disconnected = False

    def cancel(watch: asyncio.Task[None]) -> None:
        nonlocal is_disconnected
        if not is_done and not watch.cancelled():
            is_disconnected = True
            this.cancel()

    watch = asyncio.create_task(_disconnect(request))
    watch.add_done_callback(cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if not is_disconnected:
            raise
        this.uncancel()
        raise BadRequestError("the client closed the connection before the response was ready") from None
    finally:
        is_done = True
        watch.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_large(length: int, max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body has {length} bytes or more, this server takes {max_bytes}; send smaller or better compressed images"
    )


def multipart_boundary(content_type: str | None) -> str | None:
    """The boundary of a multipart body, None for JSON.

    Raises:
        UnsupportedBodyError: neither multipart nor JSON.
        MalformedBodyError: multipart without a boundary.
    """
    if usual := _USUAL_TYPE.fullmatch(content_type or ""):
        return usual[1]
    message = Message()
    message["content-type"] = content_type or "none/none"
    kind = message.get_content_type()
    if kind == JSON:
        return None
    if kind != MULTIPART:
        raise UnsupportedBodyError(
            f"the content type is {content_type or 'missing'}; send multipart/form-data with the files, "
            "or application/json with base64 fields"
        )
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 200:
        raise MalformedBodyError("the multipart content type names no boundary; let the HTTP library set it")
    return boundary


def split_multipart(body: bytes, boundary: str) -> dict[str, bytes]:
    """The parts of a multipart/form-data body by field name.

    Raises:
        MalformedBodyError: a boundary is missing, the body is truncated, or a name is missing or repeated.
    """
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    # The first delimiter may stand at the very start, without the line break before it.
    position = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if position == 1:
        raise MalformedBodyError("the multipart body does not contain its boundary; send it unchanged")
    position += len(delimiter) - 2
    parts: dict[str, bytes] = {}
    while body[position : position + 2] != b"--":
        line_end = body.find(b"\r\n", position, position + 256)  # padding after a boundary is allowed
        head_end = body.find(b"\r\n\r\n", line_end, line_end + _MAX_PART_HEADERS)
        end = body.find(delimiter, head_end + 2)
        if line_end < 0 or head_end < 0 or end < 0:
            raise MalformedBodyError("the multipart body is cut short; its last boundary is missing")
        head = body[line_end + 2 : head_end]
        name = _part_name(head)
        if name in parts:
            raise MalformedBodyError(f"the part {name!r} comes twice; send each once")
        if len(parts) == _MAX_PARTS:
            raise MalformedBodyError(f"the body has more than {_MAX_PARTS} parts; send only the images")
        parts[name] = _part_content(head, name, body[head_end + 4 : end])
        position = end + len(delimiter)
    return parts


def _part_name(head: bytes) -> str:
    if usual := _USUAL_NAME.match(head):
        return usual[1].decode("ascii")
    for line in head.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() != "content-disposition":
            continue
        message = Message()
        message["content-disposition"] = " ".join(value.split())
        name = message.get_param("name", header="content-disposition")
        if isinstance(name, str) and name:
            return name[:100]
    raise MalformedBodyError('a part has no name; each needs Content-Disposition: form-data; name="..."')


def _part_content(head: bytes, name: str, content: bytes) -> bytes:
    """Content of a part as its file has it: e-mail libraries, and clients that use them, may encode it."""
    found = _TRANSFER_ENCODING.search(head)
    encoding = found[1].lower() if found else b"binary"
    if encoding in _AS_IS:
        return content
    if encoding != b"base64":
        raise MalformedBodyError(
            f"the part {name!r} has the transfer encoding {encoding[:50].decode('latin-1')!r}; send it as it is"
        )
    return decode_base64(content, f"the part {name!r}")


def split_json(body: bytes) -> dict[str, bytes]:
    """The base64 fields of a JSON object.

    Raises:
        MalformedBodyError: not a JSON object, or a field that is not base64 text.
        BodyTooLargeError: it holds more than a few values.
    """
    fields = parse_json(body, max_values=_MAX_JSON_VALUES)
    if not isinstance(fields, dict):
        raise MalformedBodyError(f"the body is a JSON {type(fields).__name__}; send an object of base64 fields")
    if len(fields) > _MAX_PARTS:
        raise MalformedBodyError(f"the body has more than {_MAX_PARTS} fields; send only the images")
    return {name[:100]: decode_base64(text, f"the field {name[:100]!r}") for name, text in fields.items()}
