"""The losses of a detector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.detection.head import HeadOutput
from geminifusion_model.detection.targets import Targets

_FOCAL_GAMMA, _FOCAL_ALPHA = 2.0, 0.25
_SMOOTH_L1_BETA = 1 / 9
_BOX_WEIGHT, _DIRECTION_WEIGHT = 2.0, 0.2


class DetectionLosses(NamedTuple):
    """Weighted losses of a batch, divided by its number of positives (at least 1 of each sample)."""

    classes: Tensor
    boxes: Tensor
    directions: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum, which is minimized."""
        return self.classes + self.boxes + self.directions


def detection_losses(output: HeadOutput, targets: Targets, num_classes: int) -> DetectionLosses:
    """SECOND's losses: focal, smooth L1 with the sine of the difference of yaws, cross-entropy of the direction."""
    classes, boxes, directions = (each.float() for each in output.per_anchor(num_classes))
    positive = targets.labels < num_classes
    divisor = positive.sum(dim=1).clamp(min=1).sum()
    one_hot = F.one_hot(targets.labels, num_classes + 1)[..., :num_classes].to(classes.dtype)
    focal = focal_loss(classes, one_hot)[targets.counted].sum()
    found, wanted = with_sine_difference(boxes[positive], targets.boxes[positive])
    box = F.smooth_l1_loss(found, wanted, beta=_SMOOTH_L1_BETA, reduction="sum")
    direction = F.cross_entropy(directions[positive], targets.directions[positive], reduction="sum")
    return DetectionLosses(
        classes=focal / divisor,
        boxes=_BOX_WEIGHT * box / divisor,
        directions=_DIRECTION_WEIGHT * direction / divisor,
    )


def focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """The sigmoid focal loss (arXiv:1708.02002) of every logit, for `wanted` 0 or 1 of the same shape."""
    probability = logits.sigmoid()
    surprise = torch.where(wanted > 0, 1.0 - probability, probability)
    weight = torch.where(wanted > 0, _FOCAL_ALPHA, 1.0 - _FOCAL_ALPHA)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return weight * surprise**_FOCAL_GAMMA * entropy


def with_sine_difference(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Coded boxes `n 7` twice with other yaw terms, whose difference is the sine of the difference of yaws."""
    yaw, wanted_yaw = found[:, 6:], wanted[:, 6:]
    return (
        torch.cat([found[:, :6], yaw.sin() * wanted_yaw.cos()], dim=1),
        torch.cat([wanted[:, :6], yaw.cos() * wanted_yaw.sin()], dim=1),
    )
