"""Run a network over a data set and score it at the labels' full resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from geminifusion_model.data.loader import collate
from geminifusion_model.data.sample import Dataset, Sample
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_model.network import GeminiFusion

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
def predict_labels(
    net: GeminiFusion, sample: Sample, dataset: Dataset, interpolation: str, input_scale: float = 1.0
) -> NDArray[np.uint8]:
    """The class of every pixel, `H W` uint8 at the sample's size, from the ensemble."""
    batch = collate([_resized(sample, input_scale)], dataset.task)
    logits = net(*batch.inputs).ensemble
    full = F.interpolate(logits, size=sample.labels.shape, mode=interpolation, align_corners=False)
    return full[0].argmax(0).to(torch.uint8).numpy()


def evaluate(
    net: GeminiFusion,
    dataset: Dataset,
    *,
    protocol: str = "native-labels",
    input_scale: float = 1.0,
    on_frame: Callable[[int], None] | None = None,
) -> Scores:
    """Score the ensemble, one frame at a time, single scale, no flip.

    Args:
        protocol: a key of `PROTOCOLS`.
        input_scale: the frame is resized by this factor first; the labels never are.
        on_frame: called with the number of frames done.

    Raises:
        ValueError: the protocol is unknown or the data set is empty.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
    if not len(dataset):
        raise ValueError("the data set has no frames to evaluate on")
    was_training = net.training
    net.eval()
    matrix = ConfusionMatrix(net.config.num_classes)
    for index in range(len(dataset)):
        sample = dataset[index]
        matrix.add(sample.labels, predict_labels(net, sample, dataset, PROTOCOLS[protocol], input_scale))
        if on_frame is not None:
            on_frame(index + 1)
    net.train(was_training)
    return Scores(
        protocol=protocol if input_scale == 1.0 else f"{protocol}, input x{input_scale:g}",
        frames=len(dataset),
        miou=matrix.miou(),
        pixel_accuracy=matrix.pixel_accuracy(),
        mean_accuracy=matrix.mean_accuracy(),
        iou=tuple(matrix.iou().tolist()),
    )


def _resized(sample: Sample, scale: float) -> Sample:
    if scale == 1.0:
        return sample
    height, width = (max(round(side * scale), 32) for side in sample.labels.shape)
    rgb = cv2.resize(sample.rgb, (width, height), interpolation=cv2.INTER_AREA if scale < 0.7 else cv2.INTER_LINEAR)
    others = {
        name: cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.float32, copy=False)
        for name, values in sample.others.items()
    }
    return Sample(sample.name, rgb.astype(np.uint8, copy=False), others, sample.labels)
