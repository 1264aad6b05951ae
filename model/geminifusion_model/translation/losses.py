"""The losses of translation (pix2pix, arXiv:1611.07004, for one or two streams).

Axes: S streams, B batch, H W the images, h w the discriminator's map.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(on_true: Tensor, on_generated: Tensor) -> Tensor:
    """Half of the cross-entropy of each kind of image, summed over the streams.

    Args:
        on_true, on_generated: logits `S B 1 h w`.
    """
    return 0.5 * (adversarial_loss(on_true, 1.0) + adversarial_loss(on_generated, 0.0))


def adversarial_loss(logits: Tensor, truth: float = 1.0) -> Tensor:
    """Cross-entropy of the discriminator's decisions with one truth, summed over the streams.

    From logits: a discriminator that is sure of itself would have no gradient behind a sigmoid.

    Args:
        logits: `S B 1 h w`.
    """
    per_place = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth), reduction="none")
    return per_place.flatten(1).mean(1).sum()


def reconstruction_loss(image: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Sum of the absolute differences over the pixels that count, per channel; divide by their number for the mean.

    Args:
        image, target: `B 3 H W`.
        counted: `B H W` bool.
    """
    return ((image - target).abs() * counted[:, None]).sum() / image.shape[1]
