"""The distillation loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.distillation.config import DistillationConfig
from geminifusion_model.distillation.images import NO_FOLDER
from geminifusion_model.distillation.student import StudentOutput


def distillation_losses(
    output: StudentOutput,
    targets: tuple[Tensor, ...],
    teacher_logits: Tensor,
    folders: Tensor,
    config: DistillationConfig,
) -> dict[str, Tensor]:
    """The parts of the loss by name, before they are weighted; means over the batch.

    `stageN` is the smooth L1 loss of a stage's map. `logits` is the Kullback-Leibler divergence of the student's
    classes from the teacher's, both at `config.temperature`, times its square, so that its gradient does not shrink
    with the temperature (arXiv:1503.02531, sec. 2). `folders`, if learned, is the cross-entropy on the folders.

    Args:
        targets: as `Student.targets` gives them, of the shapes of `output.features`.
        teacher_logits: `B K`.
        folders: `B` int64, `NO_FOLDER` where there is none.
    """
    losses = {
        f"stage{stage}": F.smooth_l1_loss(feature.float(), target)
        for stage, feature, target in zip(config.stages, output.features, targets, strict=True)
    }
    temperature = config.temperature
    losses["logits"] = temperature**2 * F.kl_div(
        F.log_softmax(output.logits.float() / temperature, dim=1),
        F.log_softmax(teacher_logits / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    if output.folder_logits is not None:
        # by hand, because the mean over a batch in which no photograph has a folder would not be a number
        total = F.cross_entropy(output.folder_logits.float(), folders, ignore_index=NO_FOLDER, reduction="sum")
        losses["folders"] = total / (folders != NO_FOLDER).sum().clamp_min(1)
    return losses


def weighted_sum(losses: dict[str, Tensor], config: DistillationConfig) -> Tensor:
    """What is minimized."""
    weights = {"logits": config.logit_weight, "folders": config.folder_weight}
    return torch.stack([loss * weights.get(name, config.feature_weight) for name, loss in losses.items()]).sum()
