"""Checks of the training frames before the first step: what a network cannot learn from, and would not complain of."""

from __future__ import annotations

import logging

import numpy as np

from geminifusion_model.data.input_statistics import describe_inputs, input_statistics, pooled
from geminifusion_model.data.label_counts import label_counts
from geminifusion_model.data.sample import Dataset
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import TrainingError

_logger = logging.getLogger(__name__)
_FRAMES_LOOKED_AT = 16
_SHOWN = 8  # class names
_ALLOW = "allow_unlearnable_classes"


def check_frames(config: TrainingConfig, frames: Dataset, holdout: Dataset | None = None) -> None:
    """Read all labels and some of the images.

    Args:
        frames: that are trained on.
        holdout: that choose the best weights: a class need not occur in them.

    Raises:
        TrainingError: a class has no pixel, there is only one class, or an encoding makes a constant of a modality.
        DatasetError: a label file holds values without a class.
    """
    names = frames.task.class_names
    if len(names) == 1 and not config.allow_unlearnable_classes:
        raise TrainingError(
            f"{names[0]} is the only class, so that every network scores 100; name what surrounds it as a class too "
            f"(classes: [background, {names[0]}]), or set {_ALLOW} to true"
        )
    counts = label_counts(frames)
    if holdout is not None and len(holdout):
        label_counts(holdout)
    if not config.allow_unlearnable_classes:
        _check_classes(counts.sum(axis=0).tolist(), names, frames.task.ignore_index)
    _check_inputs(frames)


def _check_classes(pixels: list[int], names: tuple[str, ...], ignore_index: int) -> None:
    absent = [name for index, name in enumerate(names) if not pixels[index]]
    if not absent:
        return
    if len(absent) == len(names):
        raise TrainingError(
            "not one pixel of the training frames has a class: all are void; see labels.void and labels.map in "
            f"dataset.yaml, and `geminifusion data check`. If it is meant so, set {_ALLOW} to true"
        )
    void = pixels[ignore_index] / max(sum(pixels), 1)
    named = ", ".join(absent[:_SHOWN]) + (f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else "")
    message = (
        f"{named} of {len(names)} classes never occurs in the training frames, where {void:.0%} of the pixels are "
        "void; a network cannot learn it, and scores leave it out. If it should occur, its stored value is taken for "
        "something else"
    )
    if len(names) - len(absent) <= 1 and void:
        present = next((name for name in names if name not in absent), names[0])
        proposed = f"labels: {{map: {{0: {present}, {ignore_index}: {absent[0]}}}}}"
        message += f", probably for void: {proposed} in dataset.yaml"
    else:
        message += ": see labels.map, labels.offset and labels.void in dataset.yaml, and `geminifusion data check`"
    raise TrainingError(f"{message}. If it is meant so, set {_ALLOW} to true")


def _check_inputs(frames: Dataset) -> None:
    """Refuse a modality that the network sees as a constant; warn of one that it hardly sees."""
    count = min(len(frames), _FRAMES_LOOKED_AT)
    samples = [frames[int(index)] for index in np.linspace(0, len(frames) - 1, count).round()]
    for encoding in frames.task.modalities[1:]:
        found = [input_statistics(sample.others[encoding.name], encoding) for sample in samples]
        measured = [statistics for statistics in found if statistics is not None]
        if not measured:
            raise TrainingError(
                f"{encoding.name} is measured nowhere in the {count} frames that were looked at; correct its files or "
                f"its encoding, or train without it: leave it out of network.modalities"
            )
        together = pooled(measured)
        problem = describe_inputs(encoding.name, together, encoding)
        if problem is not None and together.is_flat:
            raise TrainingError(problem)
        if problem is not None:
            _logger.warning("%s", problem)
