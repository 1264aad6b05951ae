"""Batches of prepared frames, read ahead by threads; see `geminifusion_model.data.loader`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.data.loader import Share, frames_of_step, read_ahead
from geminifusion_model.detection.config import DetectorConfig
from geminifusion_model.detection.data.augment import DetectionAugmentation, DetectionSample, Variation, prepare
from geminifusion_model.detection.data.frame import DetectionFrames
from geminifusion_model.detection.image_pyramid import normalized
from geminifusion_model.detection.targets import Targets, batch_targets
from geminifusion_runtime.detection.images import MULTIPLE


@dataclass(frozen=True)
class DetectorInputs:
    """What `Detector.forward` takes; images and projections are None where it sees none."""

    images: Tensor | None
    points: list[Tensor]
    lidar2image: Tensor | None


@dataclass(frozen=True)
class DetectionBatch:
    """Inputs and what the head should say."""

    inputs: DetectorInputs
    targets: Targets


def detector_inputs(
    samples: Sequence[DetectionSample], network: DetectorConfig, device: torch.device | None = None
) -> DetectorInputs:
    """Samples as tensors; images are padded to the largest, in multiples of 32."""
    points = [torch.from_numpy(sample.points).to(device) for sample in samples]
    if not network.uses_images:
        return DetectorInputs(None, points, None)
    shapes = np.array([sample.image.shape[:2] for sample in samples])
    height, width = (-(-shapes.max(axis=0) // MULTIPLE) * MULTIPLE).tolist()
    images = []
    for sample in samples:
        image = normalized(torch.from_numpy(sample.image)[None].to(device), network.image_encoder)
        images.append(F.pad(image, (0, width - image.shape[3], 0, height - image.shape[2])))
    lidar2image = torch.from_numpy(np.stack([sample.lidar2image for sample in samples])).to(device)
    return DetectorInputs(torch.cat(images), points, lidar2image)


def training_batches(
    frames: DetectionFrames,
    network: DetectorConfig,
    how: DetectionAugmentation,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    share: Share | None = None,
    device: torch.device | None = None,
    workers: int = 2,
) -> Iterator[DetectionBatch]:
    """The varied batches of steps `first_step` up to, not including, `last_step`.

    Args:
        batch_size: over all processes.
        share: this process's frames of each step; all if None.
    """
    share = share or Share()

    def load(step: int) -> tuple[list[DetectionSample], Targets]:
        samples = []
        for epoch, index in share.of(frames_of_step(len(frames), batch_size, seed, step)):
            variation = Variation.drawn(how, np.random.default_rng((seed, epoch, index)))
            samples.append(prepare(frames[index], network, image_size, variation))
        targets = batch_targets([each.boxes for each in samples], [each.labels for each in samples], network)
        return samples, targets

    for samples, targets in read_ahead(load, range(first_step, last_step), workers):
        yield DetectionBatch(
            detector_inputs(samples, network, device), targets if device is None else targets.to(device)
        )
