"""The options of a segmentation request on the command line of `geminifusion predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from geminifusion_runtime.options import SEGMENT_OPTIONS

# The command's own --format names the files to write, for which the classes and these maps are always fetched. Overlays
# are drawn by the client.
_LEFT_OUT = ("format", "overlay_on", "classes", "confidence", "gate")


def request_options() -> list[click.Option]:
    """An option of the command for each of the request, with the type, range and description of its definition."""
    return [_option(name, schema) for name, schema in SEGMENT_OPTIONS.schemas().items() if name not in _LEFT_OUT]


def _option(name: str, schema: Mapping[str, Any]) -> click.Option:
    together = schema.get("minItems", 1)  # numbers that make sense as one alone, such as a camera's
    several = schema["type"] == "array" and together == 1
    text = schema["description"]
    if several:
        text += "; may be given several times"
    if "default" in schema:
        text += f" [default: {schema['default']}]"
    return click.Option(
        [f"--{name.replace('_', '-')}"],
        type=_type(schema.get("items", schema)),
        nargs=together,
        is_flag=schema["type"] == "boolean",
        multiple=several,
        help=text[0].upper() + text[1:],
    )


def _type(schema: Mapping[str, Any]) -> click.ParamType[Any]:
    if "enum" in schema:
        return click.Choice(schema["enum"])
    if schema["type"] == "number":
        low, high = schema.get("exclusiveMinimum"), schema.get("maximum")
        return click.FLOAT if low is None else click.FloatRange(low, high, min_open=True)
    return click.BOOL if schema["type"] == "boolean" else click.STRING
