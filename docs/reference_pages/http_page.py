"""Type, range and default of the query options, from the schema that the server checks them by."""

from __future__ import annotations

from typing import Any

from geminifusion_runtime.options import SEGMENT_OPTIONS
from geminifusion_service.reference import table


def http_page() -> str:
    """One table of the options of a request."""
    rows = [
        (f"`{name}`", _values(schema), f"`{schema['default']}`" if "default" in schema else "", schema["description"])
        for name, schema in SEGMENT_OPTIONS.schemas().items()
    ]
    heading = "## Types and ranges of the query options"
    return f"{heading}\n\n{table(('Option', 'Values', 'Default', 'Meaning'), rows)}"


def _values(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "boolean":
        return "`1`, `0`"
    if schema["type"] == "array":
        most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        return f"numbers, separated by commas{most}"
    bounds = {
        "exclusiveMinimum": "above",
        "minimum": "at least",
        "exclusiveMaximum": "below",
        "maximum": "at most",
        "pattern": "matching",
    }
    limits = [f"{word} `{schema[key]}`" for key, word in bounds.items() if key in schema]
    return " ".join([{"string": "text", "number": "number"}[schema["type"]], ", ".join(limits)]).strip()
