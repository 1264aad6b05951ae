"""The statistics of a teacher's channels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from geminifusion_model.distillation.batches import CropBatch

_SMALLEST_DEVIATION = 1e-3  # of a channel that is dead on all these photographs, and would become noise


def channel_statistics(batches: Iterable[CropBatch]) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and deviation, float32, of each channel of each of the teacher's maps, over all pixels of all batches.

    Raises:
        ValueError: there is no batch.
    """
    moments: list[Tensor] = []  # for each map, one row each: how many pixels, their sums, the sums of their squares
    for batch in batches:
        found = [_moments(values.double()) for values in batch.maps]
        moments = [a + b for a, b in zip(moments, found, strict=True)] if moments else found
    if not moments:
        raise ValueError("there is no photograph to take the teacher's statistics from")
    means = [total / count for count, total, _ in moments]
    variances = [square / count - mean.square() for (count, _, square), mean in zip(moments, means, strict=True)]
    deviations = [variance.clamp_min(0).sqrt().clamp_min(_SMALLEST_DEVIATION) for variance in variances]
    return [mean.float() for mean in means], [deviation.float() for deviation in deviations]


def _moments(values: Tensor) -> Tensor:
    sums = values.sum((0, 2, 3))
    return torch.stack([torch.full_like(sums, values[:, 0].numel()), sums, values.square().sum((0, 2, 3))])
