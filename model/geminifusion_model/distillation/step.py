"""One step of a distillation, and its validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from geminifusion_model.distillation.batches import CropBatch
from geminifusion_model.distillation.config import DistillationConfig
from geminifusion_model.distillation.loss import distillation_losses, weighted_sum
from geminifusion_model.distillation.student import Student
from geminifusion_model.training.loop.optimizer import is_vector
from geminifusion_model.training.loop.schedule import warmup_cosine
from geminifusion_model.training.loop.state import RunState
from geminifusion_model.training.loop.step_parts import autocast, check_finite, clip_gradient, prepare, seed_step


@dataclass(frozen=True, kw_only=True)
class DistillationReport:
    """What a step or a validation found.

    Args:
        loss: what is minimized.
        parts: before they are weighted, by name; see `distillation_losses`.
        agreement: share of crops of which teacher and student name the same class.
    """

    loss: float
    parts: dict[str, float]
    agreement: float

    def scalars(self, prefix: str = "") -> dict[str, float]:
        """By name, for the logger."""
        parts = {f"{prefix}loss_{name}": value for name, value in self.parts.items()}
        return {f"{prefix}loss": self.loss, **parts, f"{prefix}agreement": self.agreement}


def build_optimizer(student: Student, config: DistillationConfig) -> torch.optim.AdamW:
    """AdamW (arXiv:1711.05101) with no decay for norms and biases."""
    named = list(student.named_parameters())
    groups = [
        {"params": [p for name, p in named if not is_vector(name, p)], "weight_decay": config.weight_decay},
        {"params": [p for name, p in named if is_vector(name, p)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


class DistillationStep:
    """The student looks at crops and is moved towards what the teacher says of them.

    Args:
        state: its network is the student, on the device of the batches.
    """

    def __init__(self, config: DistillationConfig, student: Student, state: RunState) -> None:
        self.config, self.student, self.state = config, student, state

    def take(self, batch: CropBatch) -> DistillationReport:
        """Step on a batch; `state.step` is left to the caller.

        Raises:
            DivergedError: the loss or the gradient is not finite; the weights have not moved.
        """
        config, state = self.config, self.state
        seed_step(config.seed, 0, state.step)
        prepare(self.student, state.optimizer, learning_rate=config.learning_rate, factor=self.rate_factor())
        report, loss = _compared(self.student, batch, config)
        check_finite("loss", report.loss, state.step)
        loss.backward()
        clip_gradient(self.student, config.gradient_clip, state.step)
        state.optimizer.step()
        if config.ema_decay:
            state.average.update(self.student, state.step)
        return report

    def rate_factor(self) -> float:
        """Of this step's rate to the full one."""
        config = self.config
        return warmup_cosine(
            self.state.step, warmup_steps=config.warmup_steps, total_steps=config.steps, ratio=config.warmup_ratio
        )


@torch.no_grad()
def validate(
    student: Student,
    batches: Iterable[CropBatch],
    config: DistillationConfig,
    on_batch: Callable[[], None] = lambda: None,
) -> DistillationReport:
    """The means over all crops of `batches`, by a student in eval mode.

    Args:
        on_batch: called after each; what it raises ends the validation.

    Raises:
        ValueError: there is no batch.
    """
    student.eval()
    sizes: list[int] = []
    reports: list[DistillationReport] = []
    for batch in batches:
        sizes.append(len(batch.rgb))
        reports.append(_compared(student, batch, config)[0])
        on_batch()
    if not reports:
        raise ValueError("there is no photograph to validate on; hold out at least one")
    rows = [(report.loss, report.agreement, *report.parts.values()) for report in reports]
    loss, agreement, *parts = np.average(rows, axis=0, weights=sizes).tolist()
    return DistillationReport(loss=loss, parts=dict(zip(reports[0].parts, parts, strict=True)), agreement=agreement)


def _compared(
    student: Student, batch: CropBatch, config: DistillationConfig
) -> tuple[DistillationReport, torch.Tensor]:
    with autocast(config.precision, batch.rgb.device):
        output = student(batch.rgb)
    parts = distillation_losses(output, student.targets(batch.maps), batch.logits, batch.folders, config)
    loss = weighted_sum(parts, config)
    agreement = (output.logits.argmax(1) == batch.logits.argmax(1)).float().mean()
    *values, total, agreed = torch.stack([*parts.values(), loss, agreement]).tolist()
    return DistillationReport(loss=total, parts=dict(zip(parts, values, strict=True)), agreement=agreed), loss
