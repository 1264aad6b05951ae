"""Base64 text in all the forms that encoders write: with line breaks, without padding, URL-safe, in a data URI."""

from __future__ import annotations

import binascii
import re

from geminifusion_service.errors import MalformedBodyError

_WHITE_SPACE = b" \t\r\n"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_FOREIGN = re.compile(rb"[^A-Za-z0-9+/]")
_JSON_TYPES = {
    type(None): "null",
    bool: "a flag",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}


def decode_base64(text: object, what: str) -> bytes:
    """The bytes of a file that came as text.

    Args:
        text: a value of JSON, or ASCII bytes.
        what: its name for messages, such as "the field 'rgb'".

    Raises:
        MalformedBodyError: no text, or text that is no base64, saying where.
    """
    if not isinstance(text, str | bytes):
        kind = _JSON_TYPES.get(type(text), type(text).__name__)
        raise MalformedBodyError(f"{what} is {kind}; send the file's bytes as base64 text, or leave it out")
    try:
        digits = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise _foreign(what, repr(error.object[error.start]), error.start) from None
    if digits[:5].lower() == b"data:":
        prefix, comma, digits = digits.partition(b",")
        if not comma or not prefix.lower().endswith(b";base64"):
            raise MalformedBodyError(f"{what} is a data URI without base64; send the file's bytes as base64 text")
    digits = digits.translate(_URL_SAFE, _WHITE_SPACE).rstrip(b"=")
    if (found := _FOREIGN.search(digits)) is not None:
        if found[0] == b"=":
            raise MalformedBodyError(f"{what} has padding in the middle of its base64 text; encode one file, once")
        raise _foreign(what, repr(found[0].decode("latin-1")), found.start())
    try:
        return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
    except binascii.Error:
        raise MalformedBodyError(
            f"{what} has {len(digits)} base64 digits, which no file has; it is cut short: send all of it"
        ) from None


def _foreign(what: str, character: str, position: int) -> MalformedBodyError:
    return MalformedBodyError(
        f"{what} is not base64 text: it has {character} after {position} digits; encode the file's bytes"
    )
