"""A run's settings: one validated value, YAML in and out, with overrides by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]


class ConfigError(ValueError):
    """A run's configuration does not validate; the message names each offending field."""


class Settings(BaseModel):
    """What decides the outcome of a run, besides its data; the kinds of run add their fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_yaml(self) -> str:
        """The configuration as YAML that `from_yaml` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def from_yaml(cls, path: Path, overrides: Mapping[str, object] | None = None) -> Self:
        """Read a YAML file, with top-level or dotted (`network.encoder`) overrides.

        Raises:
            ConfigError: the file is no mapping, or a field does not validate.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
        if not isinstance(content, dict):
            raise ConfigError(f"{path} holds no mapping; write one with --print-config")
        return cls.checked(content, overrides)

    @classmethod
    def checked(cls, values: dict[str, object], overrides: Mapping[str, object] | None = None) -> Self:
        """Validate a plain mapping.

        Raises:
            ConfigError: a field does not validate; the message names it.
        """
        for dotted, value in (overrides or {}).items():
            *parents, leaf = dotted.split(".")
            target: object = values
            for parent in parents:
                target = target.get(parent) if isinstance(target, dict) else None
            if not isinstance(target, dict):
                raise ConfigError(f"there is no setting {dotted!r}")
            target[leaf] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"the training configuration does not validate: {problems}") from None
