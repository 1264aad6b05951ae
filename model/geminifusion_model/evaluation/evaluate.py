"""Run a network over a data set and score it at the labels' full resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from geminifusion_model.data.loader import stack_raw
from geminifusion_model.data.sample import Dataset, Sample
from geminifusion_model.encoding import encode_inputs
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task

# How the 1/4-resolution logits reach the labels' size: the original resizes with cubic interpolation, the exported
# graph bilinearly (whose argmax is cheap to find exactly).
PROTOCOLS = {
    "original-nyu-single-scale": "bicubic",
    "native-labels": "bilinear",
}


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All in percent; `iou` holds one entry per class, NaN where the class never occurs."""

    protocol: str
    frames: int
    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    iou: tuple[float, ...]


@torch.inference_mode()
def predict_labels(net: GeminiFusion, sample: Sample, task: Task, interpolation: str) -> NDArray[np.uint8]:
    """The class of every pixel, `H W` uint8 at the sample's size, from the ensemble."""
    logits = net(*encode_inputs(stack_raw([sample], task), task)).ensemble
    full = F.interpolate(logits, size=sample.labels.shape, mode=interpolation, align_corners=False)
    labels: NDArray[np.uint8] = full[0].argmax(0).to(torch.uint8).numpy()
    return labels


def evaluate(
    net: GeminiFusion,
    dataset: Dataset,
    *,
    protocol: str = "native-labels",
    task: Task | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Scores:
    """Score the ensemble, one frame at a time, single scale, no flip.

    Args:
        protocol: a key of `PROTOCOLS`.
        task: encodings and input scale, the data set's own if none; classes must be the same.
        on_frame: called with the number of frames done.

    Raises:
        ValueError: the protocol is unknown or the data set is empty.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
    if not len(dataset):
        raise ValueError("the data set has no frames to evaluate on")
    task = task or dataset.task
    was_training = net.training
    net.eval()
    matrix = ConfusionMatrix(net.config.num_classes)
    for index in range(len(dataset)):
        sample = dataset[index]
        matrix.add(sample.labels, predict_labels(net, sample, task, PROTOCOLS[protocol]))
        if on_frame is not None:
            on_frame(index + 1)
    net.train(was_training)
    return Scores(
        protocol=protocol if task.input_scale == 1.0 else f"{protocol}, input x{task.input_scale:g}",
        frames=len(dataset),
        miou=matrix.miou(),
        pixel_accuracy=matrix.pixel_accuracy(),
        mean_accuracy=matrix.mean_accuracy(),
        iou=tuple(matrix.iou().tolist()),
    )
