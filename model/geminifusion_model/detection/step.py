"""One training step of a detector, by one process or several together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from geminifusion_model.detection.data.batches import DetectionBatch
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.losses import detection_losses
from geminifusion_model.detection.training_config import DetectionTrainingConfig
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.schedule import warmup_cosine
from geminifusion_model.training.loop.state import RunState
from geminifusion_model.training.loop.step_parts import (
    any_wants_stop,
    autocast,
    check_finite,
    clip_gradient,
    prepare,
    seed_step,
)


@dataclass(frozen=True, kw_only=True)
class DetectionReport:
    """Results of a step, the same in all processes: means over them of each process's losses.

    Args:
        losses: `classes`, `boxes` and `directions`, weighted.
        gradient_norm: L2, before clipping.
        rate: the learning rate.
        stop: whether any process asks for the run to end.
    """

    losses: dict[str, float]
    gradient_norm: float
    rate: float
    stop: bool

    @property
    def loss(self) -> float:
        """What is minimized."""
        return sum(self.losses.values())

    def scalars(self) -> dict[str, float]:
        """All numbers by name, for the run's log."""
        parts = {f"loss_{name}": loss for name, loss in self.losses.items()}
        return {"loss": self.loss, **parts, "gradient_norm": self.gradient_norm, "rate": self.rate}


class DetectionStep:
    """Forward, backward and update; each process divides by the positives of its own share, as the original does.

    Args:
        state: of a detector on the processes' device.
    """

    def __init__(self, config: DetectionTrainingConfig, state: RunState, processes: Processes) -> None:
        assert isinstance(state.net, Detector)
        self.config, self.state, self.processes = config, state, processes
        self.detector = state.net
        self._model = processes.wrap(self.detector)

    def take(self, batch: DetectionBatch, wants_stop: Callable[[], bool] = lambda: False) -> DetectionReport:
        """Step on this process's share of a batch; incrementing `state.step` is left to the caller.

        Args:
            wants_stop: called after the backward pass; whether this process asks for the run to end.

        Raises:
            DivergedError: a loss or the gradient is not finite; the weights have not moved.
        """
        rate = self._prepare()
        inputs = batch.inputs
        with autocast(self.config.precision, self.processes.device):
            output = self._model(inputs.images, inputs.points, inputs.lidar2image)
        losses = detection_losses(output, batch.targets, len(self.detector.config.class_names))
        means = (self.processes.sum(torch.stack(losses).detach()) / self.processes.count).tolist()
        check_finite("loss", sum(means), self.state.step)
        losses.total.backward()
        norm = clip_gradient(self.detector, self.config.gradient_clip, self.state.step)
        self.state.optimizer.step()
        if self.config.ema_decay:
            self.state.average.update(self.detector, self.state.step)
        return DetectionReport(
            losses=dict(zip(losses._fields, means, strict=True)),
            gradient_norm=norm,
            rate=rate,
            stop=any_wants_stop(self.processes, wants_stop),
        )

    def _prepare(self) -> float:
        """Set random seed, learning rate, zero gradients and training mode; the rate."""
        config, state = self.config, self.state
        seed_step(config.seed, self.processes.rank, state.step)
        return prepare(
            self.detector,
            state.optimizer,
            learning_rate=config.learning_rate,
            factor=rate_factor(config, state.step),
        )


def rate_factor(config: DetectionTrainingConfig, step: int) -> float:
    """Of the learning rate of one step, 0-based, to the greatest: mmdetection3d's, a warm-up times a cosine."""
    rising = min(step / max(config.warmup_steps, 1), 1.0)
    warmup = config.warmup_ratio + (1 - config.warmup_ratio) * rising if config.warmup_steps else 1.0
    period = config.cosine_period or 1
    falling = warmup_cosine(step // period * period, warmup_steps=0, total_steps=config.steps)
    return warmup * (config.final_rate + (1 - config.final_rate) * falling)
