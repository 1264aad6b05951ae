"""The training losses: cross-entropy, plain or over hard pixels, of each stream's prediction and of the ensemble."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.network import Prediction
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError

Losses = Callable[[Prediction, Tensor], list[Tensor]]


def build_losses(config: TrainingConfig, class_weights: Tensor | None = None, ignore_index: int = 255) -> Losses:
    """The loss function that the configuration selects: a prediction and labels to one scalar per output.

    Args:
        class_weights: `K` float32 on the logits' device, from `class_balance`; for plain cross-entropy only.

    Raises:
        ConfigError: there are class weights for the loss over hard pixels.
    """
    if config.loss == "ohem":
        if config.class_balance or class_weights is not None:
            raise ConfigError(
                f"class_balance is {config.class_balance} with loss ohem, which picks its pixels by how hard they are; "
                "set class_balance to 0 or loss to cross_entropy"
            )
        return partial(ohem_segmentation_losses, ignore_index=ignore_index)
    return partial(segmentation_losses, ignore_index=ignore_index, class_weights=class_weights)


def segmentation_losses(
    prediction: Prediction, labels: Tensor, ignore_index: int = 255, class_weights: Tensor | None = None
) -> list[Tensor]:
    """Mean cross-entropy over labeled pixels, logits bilinearly upsampled to the labels' size.

    Args:
        labels: `B H W` int64.
        class_weights: `K` float32; the mean over pixels is then weighted by them. All equal if None.

    Returns:
        One scalar per stream, then the ensemble's (whose gradient reaches only the ensemble weights); 0 where no pixel
        is labeled. The training loss is their sum.
    """
    labeled = bool((labels != ignore_index).any())
    losses = []
    for logits in (*prediction.per_stream, prediction.ensemble):
        full = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
        if labeled:
            losses.append(F.cross_entropy(full, labels, class_weights, ignore_index=ignore_index))
        else:  # a mean over no pixel is NaN, and crops without labels must not end a run
            losses.append(full.sum() * 0.0)
    return losses


def ohem_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = 255, threshold: float = 0.7) -> Tensor:
    """Cross-entropy over hard pixels only (online hard example mining, as the original trains on DeLiVER).

    Hard is a labeled pixel whose true class has a probability below `threshold`. If fewer than a sixteenth of the
    labeled pixels are, the sixteenth with the largest loss is taken instead.

    Args:
        logits: `B K H W`.
        labels: `B H W` int64.

    Returns:
        The mean loss of the chosen pixels; 0 if none was chosen.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none").flatten()
    num_least = int((labels != ignore_index).sum()) // 16
    hard = losses[losses > -math.log(threshold)]
    if hard.numel() < num_least:
        hard = losses.topk(num_least).values
    return hard.mean() if hard.numel() else losses.sum() * 0.0


def ohem_segmentation_losses(
    prediction: Prediction, labels: Tensor, ignore_index: int = 255, threshold: float = 0.7
) -> list[Tensor]:
    """`segmentation_losses` with `ohem_cross_entropy` instead of the plain one; arguments and result are the same."""
    losses = []
    for logits in (*prediction.per_stream, prediction.ensemble):
        full = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
        losses.append(ohem_cross_entropy(full, labels, ignore_index, threshold))
    return losses
