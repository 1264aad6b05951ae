"""The base of a run's configuration: one validated value, YAML in and out, with overrides by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geminifusion_model.training.errors import ConfigError
from geminifusion_model.validation import validation_problems
from geminifusion_model.yaml_files import YamlError, parse_yaml, read_yaml

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class RunConfig(BaseModel):
    """All settings that decide the outcome of a run, besides its data; each kind of run adds its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def to_yaml(self) -> str:
        """The configuration as YAML that `from_yaml` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def from_yaml(cls, path: Path, overrides: Mapping[str, object] | None = None) -> Self:
        """Read a YAML file, with top-level or dotted (`network.encoder`) overrides.

        Raises:
            ConfigError: the file is no mapping, or a field does not validate.
        """
        return cls.checked(read_config(path), overrides)

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
            found = "; ".join(validation_problems(error))
            raise ConfigError(f"the training configuration does not validate: {found}") from None


def read_config(path: Path) -> dict[str, object]:
    """The content of a configuration file, not validated.

    Raises:
        ConfigError: the file is missing, or no mapping in YAML.
    """
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; write one with `--print-config`") from None
    except YamlError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping; write one with `--print-config`")
    return content


def read_overrides(settings: tuple[str, ...]) -> dict[str, object]:
    """The settings given as `--set NAME=VALUE`, values read as YAML.

    Raises:
        ConfigError: one has no `=`, or its value is no YAML.
    """
    overrides: dict[str, object] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting!r} has no '='; write NAME=VALUE")
        try:
            overrides[name] = parse_yaml(value)
        except YamlError as error:
            raise ConfigError(f"--set {setting!r} is no YAML value ({error}); quote it as YAML would") from None
    return overrides
