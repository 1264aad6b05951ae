"""JSON from clients, counted before it is parsed: two bytes of text can become a hundred bytes of objects.

Parsing holds the GIL from start to end, so a count also bounds how long every other request waits.
"""

from __future__ import annotations

from pydantic_core import from_json

from geminifusion_service.errors import BodyTooLargeError, MalformedBodyError

_BLOCK = 256 * 1024  # bytes that are counted without a break
_BEFORE_VALUES = (b",", b":", b"[", b"{")  # one of them comes before every value and every key but the first


def parse_json(text: bytes, *, max_values: int) -> object:
    """The document in a text.

    Args:
        max_values: most values and keys, those inside arrays and objects included.

    Raises:
        BodyTooLargeError: the text may hold more values.
        MalformedBodyError: it is no JSON, or is nested too deep.
    """
    count_values(text, most=max_values)
    try:
        return from_json(text)
    except (ValueError, RecursionError) as error:
        raise MalformedBodyError(f"the body is no JSON ({str(error)[:200]})") from None


def count_values(text: bytes, *, most: int) -> int:
    """Values and keys that a text may hold, at most; counted by what comes before them.

    Those marks count in strings too: the strings that clients send are base64, which has none of them.

    Raises:
        BodyTooLargeError: more than `most`.
    """
    count = 0
    for start in range(0, len(text), _BLOCK):
        block = text[start : start + _BLOCK]
        count += sum(block.count(mark) for mark in _BEFORE_VALUES)
        if count > most:
            raise BodyTooLargeError(
                f"the JSON holds more than {most} values; send images as files, or numbers as binary tensors"
            )
    return count
