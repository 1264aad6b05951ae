"""The options of a task, from text and values of any transport, and back: one definition for all of them.

A field of a task's class of options gives an option its name, type, range, default and description. `OptionSet` derives
the rest: parsing with one sentence for each mistake, and the JSON schema.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_types import TEXT, Expected, RequestOptions, WrongValueError

SHOWN_CHARACTERS = 100  # of a rejected name or value, in the message
MODALITY_FIELDS = {"scale": "scales", "invalid": "invalids"}  # fields by the ending of an option
_MOST_MODALITIES = 16  # that options of one request may name
# Names of modalities are those of `artifact.ModalitySpec`.
_OF_MODALITY = re.compile(r"(?P<modality>[a-z0-9][a-z0-9._-]{0,62})_(?P<kind>scale|invalid)")

Options = TypeVar("Options", bound=RequestOptions)


class OptionSet(Generic[Options]):
    """The options of one task.

    Args:
        options: the pydantic dataclass; where it has the fields `scales` and `invalids`, they hold the options
            `NAME_scale` and `NAME_invalid` of modalities.
    """

    def __init__(self, options: type[Options]) -> None:
        self.type = options
        self._defaults = _defaults(options)
        self._of_modalities = any(field.name in MODALITY_FIELDS.values() for field in _fields(options))
        self._adapter = TypeAdapter(options)

    @property
    def names(self) -> tuple[str, ...]:
        """The options that exist whatever the model, in order."""
        return tuple(self._defaults)

    def parse_text(self, values: Mapping[str, str]) -> Options:
        """Options from text, as a query string has them: flags as 1 or 0, several numbers separated by commas.

        Raises:
            InvalidOptionError: an unknown name, or a value that does not parse or is out of range.
        """
        try:
            return self._adapter.validate_strings(self._by_field(values), context=TEXT)
        except ValidationError as error:
            raise self._invalid_option(error, flags="1 or 0") from None

    def parse_values(self, values: Mapping[str, Any]) -> Options:
        """Options from values of their own types, as JSON and Python have them.

        Raises:
            InvalidOptionError: an unknown name, or a value of the wrong type or out of range.
        """
        try:
            return self.type(**self._by_field(values))
        except ValidationError as error:
            raise self._invalid_option(error, flags="true or false") from None

    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON schema of each option as clients send it: type, range or choices, default, description."""
        schemas = self._adapter.json_schema()["properties"]
        return {name: _without_null(schemas[name]) for name in self._defaults}

    def has(self, name: str) -> bool:
        """Whether there is an option of this name, for some model."""
        return name in self._defaults or (self._of_modalities and _OF_MODALITY.fullmatch(name) is not None)

    def _by_field(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values by the fields of the class, which has those of all modalities in one."""
        others = [name for name in values if name not in self._defaults]
        if not others:
            return values
        if len(others) > _MOST_MODALITIES * len(MODALITY_FIELDS):
            raise InvalidOptionError(f"{len(others)} options of modalities came; send those of the model's")
        fields = {name: value for name, value in values.items() if name in self._defaults}
        for name in others:
            matched = _OF_MODALITY.fullmatch(name) if self._of_modalities else None
            if matched is None:
                raise unknown_option(name, self._defaults)
            fields.setdefault(MODALITY_FIELDS[matched["kind"]], {})[matched["modality"]] = values[name]
        return fields

    def _invalid_option(self, error: ValidationError, *, flags: str) -> InvalidOptionError:
        """The first of the failures as a sentence."""
        failure = error.errors(include_url=False)[0]
        name, value = str(failure["loc"][0]), failure["input"]
        annotation = get_type_hints(self.type, include_extras=True)[name]
        for kind, field in MODALITY_FIELDS.items():
            if name == field:
                name, annotation = f"{failure['loc'][1]}_{kind}", get_args(annotation)[1]
        if failure["type"] == "too_long":
            count, most = failure["ctx"]["actual_length"], failure["ctx"]["max_length"]
            return InvalidOptionError(f"{name} is {count} values, expected at most {most}")
        if isinstance(why := failure.get("ctx", {}).get("error"), WrongValueError):
            return InvalidOptionError(f"{name} {why}")
        shown = str(value)[:SHOWN_CHARACTERS]
        came = repr(shown) if isinstance(value, str) else shown
        return InvalidOptionError(f"{name} is {came}, expected {self._expectation(name, annotation, flags)}")

    def _expectation(self, name: str, annotation: Any, flags: str) -> str:  # noqa: ANN401 - a type as it was annotated
        schema = self.schemas().get(name, {"type": "number"})
        if schema["type"] == "boolean":
            return flags
        if choices := schema.get("enum"):
            return f"one of {', '.join(choices)}"
        return next(one for one in get_args(annotation) if isinstance(one, Expected))


def given_values(options: RequestOptions) -> dict[str, Any]:
    """The options that differ from their defaults, which is all that has to be sent."""
    defaults = _defaults(type(options))
    values = {name: value for name, default in defaults.items() if (value := getattr(options, name)) != default}
    for kind, field in MODALITY_FIELDS.items():
        values |= {f"{name}_{kind}": value for name, value in getattr(options, field, {}).items()}
    return values


def as_text(options: RequestOptions) -> dict[str, str]:
    """`given_values` as `OptionSet.parse_text` reads them."""
    return {name: _text(value) for name, value in given_values(options).items()}


def unknown_option(name: str, known: Iterable[str], *, kind: str = "option") -> InvalidOptionError:
    """The error for a name that is not known: it says the nearest known one, or else all of them."""
    known = tuple(known)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
    return InvalidOptionError(f"there is no {kind} {name[:SHOWN_CHARACTERS]!r}; {hint}")


def _fields(options: type[RequestOptions]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(options)  # type: ignore[arg-type]  # every class of options is a dataclass


@functools.cache
def _defaults(options: type[RequestOptions]) -> dict[str, Any]:
    return {field.name: field.default for field in _fields(options) if field.name not in MODALITY_FIELDS.values()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema in which an option that is left out, and not null, means its default."""
    (kind,) = [one for one in schema.get("anyOf", [{}]) if one.get("type") != "null"]
    sent = kind | {key: value for key, value in schema.items() if key not in ("anyOf", "title")}
    if not sent["default"]:
        del sent["default"]
    return sent
