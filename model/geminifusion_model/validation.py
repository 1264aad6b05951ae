"""Plain data from JSON and YAML, checked by pydantic; every problem is one line that names its field."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

_T = TypeVar("_T")

# pydantic's words for whoever writes Python, in those of whoever writes YAML
_WORDS = {
    "tuple_type": "expected a list, such as [1, 2]",
    "string_type": "expected text, in quotes if it is a number, yes or no",
    "dict_type": "expected fields, such as {name: value}",
    "model_type": "expected fields, such as {name: value}",
    "model_attributes_type": "expected fields, such as {name: value}",
}
_SHOWN = 40


def validated(kind: type[_T], values: object, what: str) -> _T:
    """`values`, as from JSON, as a dataclass of this package.

    Args:
        what: what the values describe, for the message.

    Raises:
        ValueError: a field is unknown, missing, of another type or out of range; the message names all of them.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        found = "; ".join(validation_problems(error))
        raise ValueError(
            f"the {what} does not validate ({found}); was it written by another version of geminifusion?"
        ) from None


def validation_problems(error: ValidationError) -> list[str]:
    """Pydantic's findings as `path.to.field: reason`; the reason alone where it concerns no single field."""
    return [": ".join(filter(None, (".".join(map(str, e["loc"])), _reason(e)))) for e in error.errors()]


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] == "value_error":  # raised by a check of ours, which says it better than pydantic repeats it
        return str(detail["ctx"]["error"])
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return "there is no such field"
    words = _WORDS.get(detail["type"])
    if words is None:
        return detail["msg"]
    came = repr(detail["input"])
    return f"{words}, came {came if len(came) <= _SHOWN else came[:_SHOWN] + '…'}"
