"""What a task's file says of its labels: the section `labels`.

    labels: {offset: -1, void: [0, 255]}                 # class = stored value + offset
    labels: {map: {0: background, 255: crack, 7: void}}  # stored value: class, by name or number, or void
    labels: {colors: {"#80c000": road, "#000000": void}} # the files are pictures
    labels: {colors: classes, void: ["#000000"]}         # their colors are those that `classes` gives
    labels: {channel: red}                               # where the classes lie in pictures of three channels

Values of `void` may be any that a file can hold (-100, 65535, .nan). A value without a class is refused when it is met.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from geminifusion_model.data.label_files import Color, LabelCode

_VOID = "void"
_NUMBERS_REMEDY = (
    "say what they are in the contract: labels.map ({VALUE: CLASS} and all others), labels.void ([VALUE]) or "
    "labels.offset"
)
_COLORS_REMEDY = "list them in the contract: labels.colors ('VALUE': CLASS, or void)"

_Target = int | str | None  # a class by number or name; "void" or null


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class LabelScheme(BaseModel):
    """The meaning of stored label values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: int = 0
    void: Annotated[tuple[float | str, ...], BeforeValidator(_as_list)] = (255,)
    map: dict[int, _Target] | None = None
    colors: dict[str, _Target] | Literal["classes"] | None = None
    channel: Literal["red", "green", "blue"] | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> LabelScheme:
        given = [name for name in ("offset", "map", "colors", "channel") if name in self.model_fields_set]
        if self.map is not None and "offset" in given:
            raise ValueError("map says what every stored value is; leave offset out")
        if self.colors is not None and len(given) > 1:
            raise ValueError(f"colors is given with {', '.join(n for n in given if n != 'colors')}; give one of them")
        for empty in ("map", "colors"):
            if getattr(self, empty) == {}:
                raise ValueError(f"{empty} is empty; list what the files hold, or leave it out")
        return self

    @property
    def remedy(self) -> str:
        """What whoever wrote the scheme can do about a value without a class."""
        return _NUMBERS_REMEDY if self.colors is None else _COLORS_REMEDY

    def code(self, class_names: Sequence[str], palette: Sequence[Color | None]) -> LabelCode:
        """The code for these classes.

        Args:
            palette: the color that each class was given, if any.

        Raises:
            ValueError: a name, number or color does not fit; the message names it.
        """
        if self.colors is not None:
            colors = self._colors(class_names, palette)
            return LabelCode(num_classes=len(class_names), void=(), colors=colors)
        # with a map, 255 is not void unless someone says so
        void = self._void_numbers() if self.map is None or "void" in self.model_fields_set else ()
        mapping = None
        if self.map is not None:
            mapping = {value: _index(target, class_names, "map") for value, target in self.map.items()}
            if twice := sorted(value for value in mapping if value in void):
                raise ValueError(f"labels.map and labels.void both name {twice[0]}; leave it out of one")
        return LabelCode(
            num_classes=len(class_names),
            offset=self.offset,
            void=void,
            mapping=mapping,
            channel=self.channel,
        )

    def _void_numbers(self) -> tuple[float, ...]:
        if words := [value for value in self.void if isinstance(value, str)]:
            raise ValueError(f"labels.void names {words[0]!r}; expected stored numbers (colors go with labels.colors)")
        return tuple(float(value) for value in self.void)

    def _colors(self, class_names: Sequence[str], palette: Sequence[Color | None]) -> dict[Color, int]:
        found: dict[Color, int] = {}

        def add(color: Color, index: int) -> None:
            if color in found and found[color] != index:
                raise ValueError(f"labels gives the color #{color[0]:02x}{color[1]:02x}{color[2]:02x} two meanings")
            found[color] = index

        if isinstance(self.colors, dict):
            for text, target in self.colors.items():
                add(_color(text), _index(target, class_names, "colors"))
        else:
            for index, (name, color) in enumerate(zip(class_names, palette, strict=True)):
                if color is None:
                    raise ValueError(
                        f"labels.colors is `classes`, and class {name} has no color; write {{name: {name}, color: "
                        "[R, G, B]}} in classes"
                    )
                add((color[0], color[1], color[2]), index)
        if "void" in self.model_fields_set:
            for value in self.void:
                add(_color(value), LabelCode.ignore_index)
        return found


def _index(target: _Target, class_names: Sequence[str], where: str) -> int:
    if target is None or (target == _VOID and _VOID not in class_names):
        return LabelCode.ignore_index
    if isinstance(target, str):
        if target not in class_names:
            raise ValueError(f"labels.{where} names {target!r}; expected {_VOID} or one of {', '.join(class_names)}")
        if list(class_names).count(target) > 1:
            raise ValueError(f"labels.{where} names {target!r}, of which there are several; give its number")
        return list(class_names).index(target)
    if not 0 <= target < len(class_names):
        raise ValueError(f"labels.{where} names class {target}; expected 0 to {len(class_names) - 1}, or {_VOID}")
    return target


def _color(text: object) -> Color:
    """`#rrggbb`, or `R,G,B`."""
    if isinstance(text, str):
        if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
            return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
        numbers = [int(part) for part in re.findall(r"\d{1,3}", text)]
        if re.fullmatch(r"\s*\d{1,3}\s*[, ]\s*\d{1,3}\s*[, ]\s*\d{1,3}\s*", text) and max(numbers) <= 255:
            return numbers[0], numbers[1], numbers[2]
    raise ValueError(f"labels has the color {text!r}; expected '#rrggbb' or 'R,G,B', in quotes")
