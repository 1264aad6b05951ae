"""Text of others, made safe to print: in a log, and on a terminal."""

from __future__ import annotations

import re

# ASCII and Latin-1 controls, line separators, and characters that change the direction of what follows.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    """Text in which control characters are escape sequences: no new lines, colors or commands to a terminal."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def escape_in(document: object) -> object:
    """A JSON document with `escape_controls` applied to each of its texts, keys included."""
    if isinstance(document, str):
        return escape_controls(document)
    if isinstance(document, list):
        return [escape_in(entry) for entry in document]
    if isinstance(document, dict):
        return {escape_controls(str(name)): escape_in(entry) for name, entry in document.items()}
    return document
