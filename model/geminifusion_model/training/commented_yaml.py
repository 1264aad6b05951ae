"""A configuration as YAML with the description of each setting above it."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator

import yaml
from pydantic import BaseModel, TypeAdapter

_WIDTH = 100


def commented_yaml(config: BaseModel) -> str:
    """`config` and the settings classes nested in it as YAML, each setting below its docstring as a comment."""
    return "\n".join(_lines(config, config.model_dump(mode="json"))) + "\n"


def _lines(settings: object, values: dict[str, object], indent: str = "") -> Iterator[str]:
    """The lines of one level.

    Args:
        settings: a pydantic model or dataclass instance, whose class has the descriptions.
        values: the same as plain data.
    """
    descriptions = TypeAdapter(type(settings)).json_schema()["properties"]
    for name, value in values.items():
        comment = " ".join(descriptions[name]["description"].split())
        yield from textwrap.wrap(comment, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        nested = getattr(settings, name)
        if dataclasses.is_dataclass(nested) and isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _lines(nested, value, indent + "  ")
        else:
            yield textwrap.indent(yaml.safe_dump({name: value}, sort_keys=False).rstrip("\n"), indent)
