"""Photographs as a data set of their own, labeled where a head on a frozen teacher's maps is sure.

Self-training in one round (pseudo-labels: Lee 2013; on top of a stronger, noised student: arXiv:1911.04252). The folder
has no measurement of any modality but the RGB, so a network that trains on it learns to do without the others.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.data.frame_folder import require_new
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.data.task_files import CONTRACT_NAME
from geminifusion_model.distillation.images import Photographs
from geminifusion_model.distillation.label_head import LabelHead
from geminifusion_model.task import ModalityEncoding, Task

_LICENSE = "photographs of their owners, labels by a network"
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)
_BATCH = 16
_SAMPLED, _STEPS = 1000, 500


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """What was written.

    Args:
        photographs: number of them.
        labeled: share of their pixels that has a class.
        shares: of each class in the labeled pixels.
    """

    photographs: int
    labeled: float
    shares: tuple[float, ...]


def write_pseudo_labels(
    root: Path,
    photographs: Photographs,
    maps: Callable[[list[int]], tuple[Tensor, ...]],
    head: LabelHead,
    task: Task,
    *,
    size: tuple[int, int] | None,
    thresholds: Sequence[float],
    on_photograph: Callable[[], None],
) -> PseudoLabels:
    """Write `dataset.yaml`, `train.csv`, `rgb/` and `labels/`.

    Args:
        root: a new folder.
        maps: of the photographs with these indices, for the head.
        task: of the labels; its modalities besides the RGB are in the table, unmeasured.
        size: height and width as which photographs are written, whatever their aspect; their own if None.
        thresholds: of each class; pixels whose most probable class has a lower probability are void.

    Raises:
        DatasetError: see `check_pseudo_labels`, or the folder cannot be written.
    """
    check_pseudo_labels(root, task)
    for folder in ("rgb", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    others = [modality.name for modality in task.modalities[1:]]
    counts = np.zeros(256, np.int64)
    least = torch.tensor(thresholds)
    rows = []
    for start in range(0, len(photographs), _BATCH):
        chosen = list(range(start, min(start + _BATCH, len(photographs))))
        for index, probabilities in zip(chosen, head.probabilities(maps(chosen)), strict=True):
            rgb = photographs.rgb(index)
            height, width = size or rgb.shape[:2]
            labels = _labels_of(probabilities, (height, width), least, task.ignore_index)
            counts += np.bincount(labels.ravel(), minlength=256)
            name = f"{index + 1:06d}"
            resized = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
            _write(root / "rgb" / f"{name}.jpg", cv2.cvtColor(resized, cv2.COLOR_RGB2BGR), _JPEG)
            _write(root / "labels" / f"{name}.png", labels)
            rows.append([f"rgb/{name}.jpg", f"labels/{name}.png", *("" for _ in others)])
            on_photograph()
    _write_contract(root, photographs, task)
    # the table comes last: a folder that was cut short cannot be read
    with (root / "train.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["rgb", "labels", *others], *rows])
    classes = counts[: len(task.class_names)]
    shares = classes / max(int(classes.sum()), 1)
    return PseudoLabels(
        photographs=len(photographs),
        labeled=float(classes.sum() / counts.sum()),
        shares=tuple(float(share) for share in shares),
    )


def check_pseudo_labels(root: Path, task: Task) -> None:
    """Check that nothing would be overwritten and that a missing measurement can be told; before any work.

    Raises:
        DatasetError: the folder exists and is not empty, or a modality besides the RGB is not metric.
    """
    require_new(root)
    for modality in task.modalities[1:]:
        if modality.encoding != "metric":
            raise DatasetError(
                f"{modality.name} is encoded as {modality.encoding}; pseudo-labels go with metric depth, in which a "
                "pixel without a measurement says so"
            )


def class_thresholds(
    photographs: int,
    maps: Callable[[list[int]], tuple[Tensor, ...]],
    head: LabelHead,
    *,
    share: float,
    lowest: float,
) -> list[float]:
    """Of each class the probability that the surest `share` of its pixels reach (arXiv:1810.07911, section 4.2).

    One threshold for all classes would leave out those of which the head is never sure, small and rare things.

    Args:
        photographs: number of them; at most `_SAMPLED` are looked at, spread evenly.
        maps: see `write_pseudo_labels`.
        share: of the pixels in which a class is the most probable, 0…1.
        lowest: no threshold is below it; that of a class that is never the most probable is 1.
    """
    counts: Tensor | None = None  # class, confidence in steps of 1/_STEPS
    chosen = np.unique(np.linspace(0, photographs - 1, min(photographs, _SAMPLED)).astype(int)).tolist()
    for start in range(0, len(chosen), _BATCH):
        probabilities = head.probabilities(maps(chosen[start : start + _BATCH]))
        confidence, labels = probabilities.max(1)
        classes = probabilities.shape[1]
        if counts is None:
            counts = torch.zeros(classes * _STEPS, dtype=torch.int64)
        steps = (confidence * _STEPS).long().clamp(0, _STEPS - 1)
        counts += torch.bincount((labels * _STEPS + steps).flatten(), minlength=classes * _STEPS)
    assert counts is not None
    surer = counts.view(-1, _STEPS).flip(1).cumsum(1).flip(1)  # pixels at this step or above it
    kept = surer <= (share * surer[:, :1]).ceil()
    first = torch.where((surer[:, 0] > 0) & kept.any(1), kept.int().argmax(1), _STEPS)
    return [max(lowest, step / _STEPS) for step in first.tolist()]


def _labels_of(
    probabilities: Tensor, size: tuple[int, int], thresholds: Tensor, ignore_index: int
) -> NDArray[np.uint8]:
    full = F.interpolate(probabilities[None], size=size, mode="bilinear", align_corners=False)[0]
    confidence, labels = full.max(0)
    labels[confidence < thresholds[labels]] = ignore_index
    return labels.to(torch.uint8).numpy()


def _write(path: Path, image: cv2.typing.MatLike, options: Sequence[int] = ()) -> None:
    if not cv2.imwrite(str(path), image, options):
        raise DatasetError(f"{path} cannot be written; is the disk full?")


def _write_contract(root: Path, photographs: Photographs, task: Task) -> None:
    contract = {
        "name": f"{photographs.task.data}, pseudo-labeled",
        "license": _LICENSE,
        "classes": [
            {"name": name, "color": list(color)} for name, color in zip(task.class_names, task.palette, strict=True)
        ],
        "labels": {"void": [task.ignore_index]},
        "modalities": dict(_described(task.modalities[1:])),
        "splits": {"train": "train.csv"},
    }
    text = yaml.safe_dump(contract, sort_keys=False, allow_unicode=True)
    (root / CONTRACT_NAME).write_text(text, encoding="utf-8")


def _described(modalities: Iterable[ModalityEncoding]) -> Iterable[tuple[str, dict[str, object]]]:
    """Each modality as a contract describes it."""
    for modality in modalities:
        yield (
            modality.name,
            {
                "encoding": "metric",
                "metres_per_unit": 0.001,
                "range": [max(modality.range[0], 0.001), modality.range[1]],  # metric clips at its far end alone
                "mean": modality.mean[0],
                "std": modality.std[0],
            },
        )
