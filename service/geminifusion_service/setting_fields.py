"""Definition of a setting: a dataclass field that says everything there is to know of it.

Standard library only, like the settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

ENVIRONMENT_PREFIX = "GEMINIFUSION_"


class SettingsError(ValueError):
    """A setting is out of range; the message names it, its value and the range."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All there is to know of one setting.

    Args:
        name: of the field, and in a TOML file.
        group: name of the field of `Settings` that has it.
        default: its value where nothing is said.
        help: one sentence for the operator.
        choices: the values it may have; empty where they cannot be listed.
        low, high: range of a number, both included; None for no limit.
        suggestions: values for shells to complete, where others are possible too.
        is_path: whether it names a file or a folder.
        check: raises ValueError for a text that cannot be used.
    """

    name: str
    group: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    suggestions: Sequence[str] = ()
    is_path: bool = False
    check: Callable[[str], object] | None = None

    @property
    def option(self) -> str:
        """The option on the command line."""
        return option(self.name)

    @property
    def environment_variable(self) -> str:
        """The environment variable."""
        return environment_variable(self.name)

    @property
    def expected(self) -> str:
        """The values it may have, in words; empty for any of its type."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is None and self.high is None:
            return ""
        return f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"

    def require(self, value: Any) -> None:  # noqa: ANN401 - of the field's own type
        """Raise SettingsError unless the setting may have this value."""
        try:
            if self.check is not None:
                self.check(value)
        except ValueError as error:
            raise SettingsError(f"{error}; change {self.option}") from None
        # `>=` and `<=` rather than `<` and `>`, so that NaN is rejected too
        in_range = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        if not in_range or (self.choices and value not in self.choices):
            shown = repr(value) if self.choices else value
            raise SettingsError(f"{self.name} is {shown}, expected {self.expected}; change {self.option}")


def setting(
    default: Any,  # noqa: ANN401 - the field's own annotation says the type
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    suggestions: Sequence[str] = (),
    is_path: bool = False,
    check: Callable[[str], object] | None = None,
) -> Any:  # noqa: ANN401
    """Field of a group, with what `Setting` says of it."""
    facts = {"low": low, "high": high, "suggestions": suggestions, "is_path": is_path, "check": check}
    return field(default=default, metadata={"help": help_text, **facts})


class SettingsGroup:
    """Base of a group: a frozen dataclass whose fields are made by `setting`; checks every one of them.

    The docstring of a group is the heading of its section in `--help` and on the reference page.

    Raises:
        SettingsError: a value that its setting may not have.
    """

    def __post_init__(self) -> None:
        for one in settings_of(type(self)):
            one.require(getattr(self, one.name))


def settings_of(group: type[SettingsGroup], name: str = "") -> Iterator[Setting]:
    """The settings of a group; `name` is what they call it."""
    types = get_type_hints(group)
    for spec in dataclasses.fields(group):  # type: ignore[arg-type]  # every group is a dataclass
        choices = get_args(types[spec.name]) if get_origin(types[spec.name]) is Literal else ()
        yield Setting(name=spec.name, group=name, default=spec.default, choices=choices, **spec.metadata)


def option(name: str) -> str:
    """The command-line option of a field."""
    return "--artifact" if name == "artifacts" else "--" + name.replace("_", "-")


def environment_variable(name: str) -> str:
    """The environment variable of a field; several artifacts are separated like PATH."""
    return ENVIRONMENT_PREFIX + ("ARTIFACT" if name == "artifacts" else name.upper())
