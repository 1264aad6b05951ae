"""What label files hold, and a section `labels` that says so."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geminifusion_model.data.proposal.files import read_stored
from geminifusion_model.yaml_files import quoted

_MOST_FILES = 500
_MOST_CLASSES = 255
_MOST_WITH_GAPS = 64  # values; more are the shades of a smoothed outline
_LOSSY = (".jpg", ".jpeg", ".webp")
_VOID = 255
_CHANNELS = ("red", "green", "blue")
_NAME_FILES = ("classes.txt", "labels.txt", "class_names.txt", "labelmap.txt", "obj.names")

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ProposedLabels:
    """Class names with their colors, and the section `labels`, both as YAML."""

    classes: str
    scheme: str
    notes: tuple[str, ...]


class LabelsError(ValueError):
    """The label files hold nothing that could be classes."""


def propose_labels(root: Path, paths: Sequence[Path]) -> ProposedLabels:
    """Look at label files, at most 500 of them.

    Raises:
        LabelsError: none can be read, or they hold more values than there can be classes.
    """
    chosen = [paths[int(i)] for i in np.linspace(0, len(paths) - 1, min(len(paths), _MOST_FILES)).round()]
    if lossy := [path for path in chosen if path.suffix.lower() in _LOSSY]:
        raise LabelsError(f"{lossy[0]} is compressed in a way that changes label values; write labels as PNG")
    numbers: Counter[int] = Counter()
    colors: Counter[Color] = Counter()
    varying: set[int] = set()
    unread = 0
    for path in chosen:
        stored = read_stored(path)
        if stored is None or stored.dtype.kind not in "uib":
            unread += 1
        elif stored.ndim == 3 and not (stored == stored[..., :1]).all():
            found, counts = np.unique(stored.reshape(-1, stored.shape[2]), axis=0, return_counts=True)
            varying |= {channel for channel in range(stored.shape[2]) if len(np.unique(found[:, channel])) > 1}
            for color, count in zip(found.tolist(), counts.tolist(), strict=True):
                colors[tuple(color)] += count
        else:
            found, counts = np.unique(stored if stored.ndim == 2 else stored[..., 0], return_counts=True)
            numbers.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        if len(numbers) > _MOST_CLASSES + 1 or len(colors) > _MOST_CLASSES + 1:
            raise LabelsError(
                f"{path} and others hold more than {_MOST_CLASSES} different values; labels of classes are expected, "
                "not instances, depth or compressed pictures"
            )
    notes = [f"{unread} of {len(chosen)} label files could not be read as labels"] if unread else []
    if not numbers and not colors:
        raise LabelsError(f"{chosen[0]} and others cannot be read as labels; write them as PNG with one number a pixel")
    names = _names(root)
    if colors and not (len(varying) == 1 and not numbers):
        return _of_colors(colors, names, notes, len(chosen), len(paths))
    channel = None
    if colors:
        (place,) = varying
        channel = _CHANNELS[place]
        for color, count in colors.items():
            numbers[color[place]] += count
    return _of_numbers(numbers, names, channel, _palette(chosen[0]), notes, len(chosen), len(paths))


def _of_numbers(
    numbers: Counter[int],
    names: list[str],
    channel: str | None,
    palette: list[Color],
    notes: list[str],
    looked_at: int,
    there: int,
) -> ProposedLabels:
    total = sum(numbers.values())
    seen = ", ".join(f"{value} ({numbers[value] / total:.1%})" for value in sorted(numbers))
    notes.append(f"label values seen in {looked_at} of {there} files: {seen}")
    void = [_VOID] if _VOID in numbers and len(numbers) > 2 else []
    void += [value for value in numbers if value < 0 or value == 65535]
    values = sorted(value for value in numbers if value not in void)
    if void:
        notes.append(f"{', '.join(map(str, void))} is taken for void (unlabeled); if it is a class, map it")
    parts = [f"channel: {channel}"] if channel else []
    first = values[0] if values else 0
    span = list(range(first, first + len(values)))
    dense = values == span and first in (0, 1)
    if not dense and values and first in (0, 1) and len(names) > len(values) and values[-1] < first + len(names):
        values, dense = list(range(first, first + len(names))), True  # rare classes, which a list of names knows
    if not dense and len(values) > _MOST_WITH_GAPS:
        raise LabelsError(
            f"the labels hold {len(values)} values between {values[0]} and {values[-1]} with gaps, as smoothed or "
            "resized masks do; write them again without smoothing (nearest neighbor)"
        )
    if len(values) < 2:
        notes.append("only one class was seen: look at the files, and name what surrounds it as a class of its own")
    given = names if len(names) == len(values) else [_class_name(value, values) for value in values]
    if given is not names:
        notes.append("the classes have made-up names: put the real ones into classes")
    if dense:
        parts += [f"offset: {-first}"] if first else []
    else:
        entries = ", ".join(f"{value}: {quoted(name)}" for value, name in zip(values, given, strict=True))
        parts.append(f"map: {{{entries}}}")
    if dense or void:
        parts.append(f"void: [{', '.join(map(str, void))}]")
    colors = [palette[value] if value < len(palette) and len(set(palette)) > 2 else None for value in values]
    return ProposedLabels(_classes(given, colors), f"{{{', '.join(parts)}}}", tuple(notes))


def _of_colors(
    colors: Counter[Color], names: list[str], notes: list[str], looked_at: int, there: int
) -> ProposedLabels:
    total = sum(colors.values())
    listed = [color[:3] for color, _ in colors.most_common()]
    hexadecimal = ["#" + "".join(f"{part:02x}" for part in color) for color in listed]
    seen = ", ".join(f"{text} ({colors[color] / total:.1%})" for text, color in zip(hexadecimal, colors, strict=False))
    notes.append(f"label colors seen in {looked_at} of {there} files: {seen}")
    given = names if len(names) == len(listed) else [f"color_{text[1:]}" for text in hexadecimal]
    notes.append("the labels are pictures in colors: say in labels.colors which class each color is, or void")
    entries = ", ".join(f'"{text}": {quoted(name)}' for text, name in zip(hexadecimal, given, strict=True))
    palette: list[Color | None] = [(color[0], color[1], color[2]) for color in listed]
    return ProposedLabels(_classes(given, palette), f"{{colors: {{{entries}}}}}", tuple(notes))


def _class_name(value: int, values: Sequence[int]) -> str:
    if len(values) == 2:
        return "background" if value == values[0] else "foreground"
    return f"class_{value}"


def _classes(names: Sequence[str], colors: Sequence[Color | None]) -> str:
    lines = []
    for name, color in zip(names, colors, strict=True):
        text = quoted(name)
        lines.append(f"  - {text}" if color is None else f"  - {{name: {text}, color: {list(color)}}}")
    return "\n".join(lines)


def _names(root: Path) -> list[str]:
    """Class names, one a line, from a file that such data sets often have."""
    for name in _NAME_FILES:
        for path in (root / name, *sorted(root.glob(f"*/{name}"))):
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            # CVAT writes NAME:R,G,B:parts:actions
            found = [line.partition(":")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
            if found and len(set(found)) == len(found):
                return found
    return []


def _palette(path: Path) -> list[Color]:
    """The palette of a PNG; empty if it has none."""
    try:
        data = path.read_bytes()
    except OSError:
        return []
    place = data.find(b"PLTE")
    if not data.startswith(b"\x89PNG") or data[25] != 3 or place < 0:
        return []
    (length,) = struct.unpack_from(">I", data, place - 4)
    content = data[place + 4 : place + 4 + length]
    return [(content[at], content[at + 1], content[at + 2]) for at in range(0, len(content) - 2, 3)]
