"""Checks of stored label values: those without a class, and what they probably are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.doctor.traits import FrameTraits
from geminifusion_model.data.label_files import LabelCode
from geminifusion_model.task import Task

_STRAY_SHARE = 0.005  # of the pixels of the frames concerned
_STRAY_FRAMES = 0.1  # of the frames, or a single one
_SHOWN = 12


def check_label_values(split: str, frames: Sequence[FrameTraits], task: Task, code: LabelCode | None) -> list[Finding]:
    """Stored values that no class has.

    Args:
        code: how the label files are read; None for labels that are classes already.
    """
    found = {frame.name: _without_class(frame, task) for frame in frames}
    wrong = {name: values for name, values in found.items() if values}
    if not wrong:
        return []
    code = code or LabelCode(num_classes=len(task.class_names))
    total: Counter[str] = Counter()
    for values in wrong.values():
        total.update(values)
    concerned = [frame for frame in frames if frame.name in wrong]
    kind, message, advice = _judged(total, concerned, frames, task, code)
    return [Finding(severity="error", code=kind, split=split, frames=tuple(wrong), message=message, advice=advice)]


def _without_class(frame: FrameTraits, task: Task) -> dict[str, int]:
    if frame.unmapped:
        return dict(frame.unmapped)
    allowed = {*range(len(task.class_names)), task.ignore_index}
    counts = frame.label_counts
    return {str(value): int(counts[value]) for value in np.flatnonzero(counts) if int(value) not in allowed}


def _judged(
    total: Counter[str], concerned: Sequence[FrameTraits], frames: Sequence[FrameTraits], task: Task, code: LabelCode
) -> tuple[str, str, str]:
    """Code, message and advice."""
    listed = ", ".join(f"{value} ({count} pixels)" for value, count in total.most_common(_SHOWN))
    message = f"the label files hold {listed}, which no class has; expected {code.expected()}"
    if code.colors is not None:
        return "label-range", message, "say which class each color is, or void: labels.colors in the contract"
    if code.mapping is not None:
        return "label-range", message, "add to labels.map which class each value is, or void"
    names, first = task.class_names, -code.offset
    values = sorted(float(value) for value in total)
    pixels = sum(int(frame.label_counts.sum()) for frame in concerned)
    share = total.total() / pixels
    occurring = [k for k in range(len(names)) if any(frame.label_counts[k] for frame in frames)]
    if len(names) == 1 and values == [first + 1]:
        return (
            "one-class",
            message,
            f"name what surrounds {names[0]} as a class of its own: classes: [background, {names[0]}]",
        )
    stray_frames = len(concerned) == 1 or len(concerned) <= _STRAY_FRAMES * len(frames)
    if share < _STRAY_SHARE and stray_frames:
        void = ", ".join(f"{value:g}" for value in (*code.void, *values))
        return (
            "stray-labels",
            message,
            f"so few pixels are a slip of the brush: repair these label files, or declare them void: labels: "
            f"{{void: [{void}]}}",
        )
    zero_never = not any(frame.label_counts[0] for frame in concerned)
    if values == [first + len(names)]:
        says_so = ", and class 0 never occurs" if zero_never else ""
        return (
            "label-offset",
            f"labels reach {values[0]:g}, with {len(names)} classes from {first} to {first + len(names) - 1}{says_so}",
            f"the files count classes from {first + 1}: subtract one (labels: {{offset: {code.offset - 1}}} in the "
            "contract)"
            + ("" if zero_never else f"; if {first} is a class too, name it in classes, which then has one more"),
        )
    if len(values) == 1 and (values[0] >= 250 or values[0] < 0 or math.isnan(values[0])):
        value = ".nan" if math.isnan(values[0]) else f"{values[0]:g}"
        if len(names) == 2 and len(occurring) == 1:
            return (
                "label-range",
                message,
                f"if it is the other class: labels: {{map: {{{first}: {names[0]}, {value}: {names[1]}}}}}; if it is "
                f"unlabeled: labels: {{void: [{value}]}}",
            )
        void = ", ".join([*(f"{marker:g}" for marker in code.void), value])
        return "void-value", message, f"it looks like void: labels: {{void: [{void}]}} in the contract"
    return (
        "label-range",
        message,
        f"say which class each value is, or void: {_proposed_map(values, occurring, names, first)}",
    )


def _proposed_map(values: list[float], occurring: list[int], names: Sequence[str], first: int) -> str:
    """`labels.map` in full if there are as many values as classes, which then are most likely in the same order."""
    stored = sorted({*(k + first for k in occurring), *(int(value) for value in values if math.isfinite(value))})
    if len(stored) == len(names):
        entries = [f"{value}: {name}" for value, name in zip(stored, names, strict=True)]
    else:
        entries = [f"{value}: CLASS" for value in stored[:_SHOWN]] + (["…"] if len(stored) > _SHOWN else [])
    return f"labels: {{map: {{{', '.join(entries)}}}}} in the contract"
