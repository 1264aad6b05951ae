"""A configuration as YAML with the description of each setting above it."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator

import yaml
from pydantic import BaseModel, TypeAdapter

_WIDTH = 100


def commented_yaml(config: BaseModel) -> str:
    """`config` and the settings classes nested in it as YAML, each setting below its docstring as a comment.

    A nested class whose fields have no docstrings of their own is written without comments.
    """
    return "\n".join(_lines(config, config.model_dump(mode="json"))) + "\n"


def _lines(settings: object, values: dict[str, object], indent: str = "") -> Iterator[str]:
    """The lines of one level.

    Args:
        settings: a pydantic model or dataclass instance, whose class has the descriptions.
        values: the same as plain data.
    """
    descriptions = _descriptions(settings)
    for name, value in values.items():
        comment = " ".join(descriptions[name].split())
        yield from textwrap.wrap(comment, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        nested = getattr(settings, name)
        if dataclasses.is_dataclass(nested) and isinstance(value, dict) and _descriptions(nested):
            yield f"{indent}{name}:"
            yield from _lines(nested, value, indent + "  ")
        else:
            yield textwrap.indent(yaml.safe_dump({name: value}, sort_keys=False).rstrip("\n"), indent)


def _descriptions(settings: object) -> dict[str, str]:
    """The docstrings of a settings class by field; none of a class whose fields have none."""
    fields = TypeAdapter(type(settings)).json_schema()["properties"]
    return {name: field["description"] for name, field in fields.items() if "description" in field}
