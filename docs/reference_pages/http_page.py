"""Type, range and default of the query options, from the schema that the server checks them by."""

from __future__ import annotations

from typing import Any

from geminifusion_runtime.option_sets import OptionSet
from geminifusion_runtime.options import SEGMENT_OPTIONS
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS
from geminifusion_service.reference import table


def http_page() -> str:
    """A table of the options of a request for each task that is described here."""
    return "\n\n".join(
        [
            f"## Types and ranges of the query options\n\n{_options(SEGMENT_OPTIONS)}",
            f"## Query options of `POST /v1/detect`\n\n{_options(DETECT_OPTIONS)}",
        ]
    )


def _options(options: OptionSet[Any]) -> str:
    rows = [
        (f"`{name}`", _values(schema), f"`{schema['default']}`" if "default" in schema else "", schema["description"])
        for name, schema in options.schemas().items()
    ]
    return table(("Option", "Values", "Default", "Meaning"), rows)


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
