"""The training loss: cross-entropy of each stream's prediction and of the ensemble."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.network import Prediction


def segmentation_losses(prediction: Prediction, labels: Tensor, ignore_index: int = 255) -> list[Tensor]:
    """Mean cross-entropy over labelled pixels, logits bilinearly upsampled to the labels' size.

    Args:
        labels: `B H W` int64.

    Returns:
        One scalar per stream, then the ensemble's (whose gradient reaches only the ensemble weights). The training
        loss is their sum.
    """
    losses = []
    for logits in (*prediction.per_stream, prediction.ensemble):
        full = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
        losses.append(F.cross_entropy(full, labels, ignore_index=ignore_index))
    return losses
