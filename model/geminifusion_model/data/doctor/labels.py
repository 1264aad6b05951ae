"""Checks that labels mean the classes of the task: offsets, void values, and classes that never occur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.doctor.label_values import check_label_values
from geminifusion_model.data.doctor.traits import ROW_BINS, FrameTraits
from geminifusion_model.data.label_files import LabelCode
from geminifusion_model.task import Task

_MOST_IGNORED = 0.6
_SHIFT_MARGIN = 0.25  # of the cosine between the class shares of two splits
# Nats per pixel by which another offset explains a frame's labels better. Of the 1295 intact frames of NYU Depth V2 one
# exceeds 0.7, with 13 classes (1.05) and with 39 (1.89); with one added to their labels, nine out of ten do. So one
# such frame is worth a look, several are an error.
_SUSPICIOUS_GAIN = 0.7
_CERTAIN_GAIN = 2.0
_SEVERAL = 0.01  # of the frames, and more than one
_LOST_PIXEL = 8.0  # nats against an offset that moves a pixel beyond the classes
_FEWEST_FOR_PRIOR = 8  # frames

Counts = NDArray[np.int64]
_Number = TypeVar("_Number", np.int64, np.float64)


def check_labels(
    frames_by_split: Mapping[str, Sequence[FrameTraits]],
    task: Task,
    code: LabelCode | None = None,
    *,
    partial: bool = False,
) -> list[Finding]:
    """All findings from label values alone.

    Args:
        code: how the label files are read; None for labels that are classes already.
        partial: only some frames were read, so that a class may occur in others.
    """
    findings: list[Finding] = _single_class(task)
    counts = {split: np.sum([f.label_counts for f in frames], axis=0) for split, frames in frames_by_split.items()}
    for split, frames in frames_by_split.items():
        findings += check_label_values(split, frames, task, code)
        findings += _ignored(split, frames, counts[split], task)
        findings += _void_at_border(split, frames, counts[split], task)
    shifted = {finding.split for finding in findings if finding.code == "label-offset"}
    findings += _between_splits({split: c for split, c in counts.items() if split not in shifted}, task)
    findings += _frames_with_offset(frames_by_split, task)
    findings += _empty_classes(counts, task, partial)
    return findings


def _single_class(task: Task) -> list[Finding]:
    if len(task.class_names) > 1:
        return []
    (name,) = task.class_names
    return [
        Finding(
            severity="error",
            code="one-class",
            split="all",
            message=f"{name} is the only class, so every network scores 100 without having learnt anything",
            advice=f"name what surrounds it as a class of its own: classes: [background, {name}], and give it the "
            "pixels that are void now (labels.map)",
        )
    ]


def _ignored(split: str, frames: Sequence[FrameTraits], counts: Counts, task: Task) -> list[Finding]:
    findings = []
    blank = tuple(f.name for f in frames if f.label_counts[task.ignore_index] == f.label_counts.sum())
    if blank:
        findings.append(
            Finding(
                severity="error",
                code="no-labels",
                split=split,
                frames=blank,
                message=f"every pixel is {task.ignore_index}, which is ignored",
                advice="if these frames are labeled, the value of their labels is taken for void: see labels.void and "
                "labels.map; if nobody has labeled them, take them off the list",
            )
        )
    share = counts[task.ignore_index] / counts.sum()
    if share > _MOST_IGNORED:
        findings.append(
            Finding(
                severity="warning",
                code="mostly-ignored",
                split=split,
                message=f"{share:.0%} of all pixels are ignored",
                advice=f"check that {task.ignore_index} marks only what is unlabeled",
            )
        )
    return findings


def _void_at_border(split: str, frames: Sequence[FrameTraits], counts: Counts, task: Task) -> list[Finding]:
    """No pixel is ignored, and class 0 lines the image borders: void was probably stored as 0."""
    if counts[task.ignore_index]:
        return []
    border = np.sum([f.border_labels for f in frames], axis=0)
    at_border, everywhere = border[0] / border.sum(), counts[0] / counts.sum()
    if at_border < 0.5 or at_border < 3 * everywhere:
        return []
    return [
        Finding(
            severity="warning",
            code="void-as-class-0",
            split=split,
            message=f"no pixel is ignored, and {at_border:.0%} of the outermost pixels are {task.class_names[0]} "
            f"(class 0, {everywhere:.0%} of all)",
            advice=f"if 0 means unlabeled in these files, map it to {task.ignore_index}",
        )
    ]


def _between_splits(counts: Mapping[str, Counts], task: Task) -> list[Finding]:
    """Splits that number their classes differently: by one, or with void and class 0 exchanged."""
    findings = []
    shares = {split: c / c.sum() for split, c in counts.items()}
    splits, num_classes = list(shares), len(task.class_names)
    reference = splits[0] if splits else ""
    for split in splits[1:]:
        a, b = shares[reference], shares[split]
        likeness = {by: _cosine(a[:num_classes], _moved(b[:num_classes], by)) for by in (-1, 0, 1)}
        best = max(likeness, key=lambda by: likeness[by])
        both = f"{reference}+{split}"
        if num_classes > 3 and likeness[best] > likeness[0] + _SHIFT_MARGIN:
            findings.append(
                Finding(
                    severity="error",
                    code="label-offset",
                    split=both,
                    message=f"the class shares of {split} look like those of {reference} only with {best:+d} "
                    f"(likeness {likeness[best]:.2f} against {likeness[0]:.2f})",
                    advice=f"{reference} and {split} count classes from different numbers; bring both to 0",
                )
            )
            continue
        for one, other, first, second in ((reference, split, a, b), (split, reference, b, a)):
            void_1, void_2 = first[task.ignore_index], second[task.ignore_index]
            if void_1 > 0.02 and void_2 == 0 and second[0] > first[0] + 0.5 * void_1:
                message = f"{void_1:.0%} of {one} is ignored and nothing of {other}, where class 0 has {second[0]:.0%} "
                message += f"instead of {first[0]:.0%}"
                advice = f"void is 0 in {other}: map it to {task.ignore_index}"
            elif first[0] > 0.02 and second[0] == 0 and void_2 > void_1 + 0.5 * first[0]:
                message = f"class 0 has {first[0]:.0%} of {one} and nothing of {other}, where {void_2:.0%} is ignored "
                message += f"instead of {void_1:.0%}"
                advice = f"class 0 became {task.ignore_index} in {other}: write its labels again"
            else:
                continue
            findings.append(
                Finding(severity="error", code="void-confusion", split=both, message=message, advice=advice)
            )
    return findings


def _frames_with_offset(frames_by_split: Mapping[str, Sequence[FrameTraits]], task: Task) -> list[Finding]:
    """Single frames whose labels only make sense one class up or down, judged by where classes usually lie."""
    num_classes = len(task.class_names)
    total = np.sum([f.label_rows for frames in frames_by_split.values() for f in frames], axis=0)[:, :num_classes]
    if sum(map(len, frames_by_split.values())) < _FEWEST_FOR_PRIOR or num_classes < 4:
        return []
    findings = []
    for split, frames in frames_by_split.items():
        gains: dict[str, tuple[float, int]] = {}
        for frame in frames:
            rows = frame.label_rows[:, :num_classes]
            if not rows.sum() or frame.unmapped or frame.label_counts[num_classes]:
                continue  # nothing to judge, or already found beyond the classes
            # the frame itself must not vouch for its labels
            prior = total - rows + 0.5
            log_prior = np.log(prior / prior.sum(axis=1, keepdims=True))
            fit = {by: _mean_fit(rows, log_prior, by) for by in (-1, 0, 1)}
            best = max(fit, key=lambda by: fit[by])
            gains[frame.name] = (fit[best] - fit[0], best)
        odd = {name: by for name, (gain, by) in gains.items() if gain > _SUSPICIOUS_GAIN}
        certain = any(gain > _CERTAIN_GAIN for gain, _ in gains.values()) or (
            len(odd) > max(1.0, _SEVERAL * len(frames))
        )
        for by, word in ((-1, "subtract one from"), (1, "add one to")):
            names = tuple(name for name, found in odd.items() if found == by)
            if names:
                findings.append(
                    Finding(
                        severity="error" if certain else "warning",
                        code="label-offset",
                        split=split,
                        frames=names,
                        message=f"the labels fit where classes usually are only with {by:+d}",
                        advice=f"compare the label files with the images; {word} them if they are off",
                    )
                )
    return findings


def _mean_fit(rows: Counts, log_prior: NDArray[np.float64], by: int) -> float:
    moved = np.stack([_moved(rows[bin_], by) for bin_ in range(ROW_BINS)])
    lost = rows.sum() - moved.sum()
    return float(((moved * log_prior).sum() - _LOST_PIXEL * lost) / rows.sum())


def _empty_classes(counts: Mapping[str, Counts], task: Task, partial: bool) -> list[Finding]:
    findings = []
    num_classes = len(task.class_names)
    absent = {split: {k for k in range(num_classes) if not c[k]} for split, c in counts.items()}
    for split, classes in absent.items():
        if not classes:
            continue
        named = ", ".join(f"{task.class_names[k]} ({k})" for k in sorted(classes))
        message = f"never labeled: {named}"
        advice = (
            "if it does occur, its stored value is taken for something else: see labels.map, labels.offset and "
            "labels.void; if it does not, add frames that show it"
        )
        void = counts[split][task.ignore_index] / counts[split].sum()
        if void and num_classes - len(classes) <= 1:
            message += f"; {void:.0%} of the pixels are void"
            advice = (
                "the stored value of void is probably the one of that class: say so by labels.map, for example "
                f"labels: {{map: {{0: {task.class_names[0]}, {task.ignore_index}: {task.class_names[min(classes)]}}}}}"
            )
        elif num_classes - 1 in classes:
            advice += "; one may also have been subtracted from the labels twice"
        findings.append(
            Finding(
                severity="error" if split == "train" and not partial else "warning",
                code="empty-class",
                split=split,
                message=message,
                advice=advice,
            )
        )
    if "train" in absent:
        for split, classes in absent.items():
            unseen = sorted(absent["train"] - classes)
            if split != "train" and unseen:
                named = ", ".join(task.class_names[k] for k in unseen)
                findings.append(
                    Finding(
                        severity="error",
                        code="unlearnable-class",
                        split=f"train+{split}",
                        message=f"{named} occurs in {split} and never in train",
                        advice="move frames that show it to train; if it lies in train under another stored value, "
                        "give that to the class by labels.map",
                    )
                )
    return findings


def _moved(values: NDArray[_Number], by: int) -> NDArray[_Number]:
    """Entry k goes to k + by; what leaves at an end is lost."""
    moved = np.zeros_like(values)
    if by == 0:
        moved[:] = values
    elif by > 0:
        moved[by:] = values[:-by]
    else:
        moved[:by] = values[-by:]
    return moved


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else 0.0
