"""One training step of a translator: the discriminator's, then the generator's, by one process or several together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.schedule import warmup_cosine
from geminifusion_model.training.loop.step_parts import (
    any_wants_stop,
    autocast,
    check_finite,
    clip_gradient,
    prepare,
    seed_step,
)
from geminifusion_model.translation.dataset import TranslationBatch
from geminifusion_model.translation.generator import Generator, TranslationPrediction, streams_of
from geminifusion_model.translation.losses import adversarial_loss, discriminator_loss, reconstruction_loss
from geminifusion_model.translation.state import Adversary, TranslationState
from geminifusion_model.translation.training_config import TranslationTrainingConfig


@dataclass(frozen=True, kw_only=True)
class TranslationReport:
    """Results of a step, the same in all processes.

    Args:
        loss: what the generator minimizes.
        parts: what it is made of, before it is weighted: `l1_0`, `l1_1` and `l1_ensemble`, `adversarial`, `penalty`.
        discriminator: the discriminator's loss; none without one.
        gradient_norm: of the generator, L2, before clipping.
        rate: the learning rate.
        stop: whether any process asks for the run to end.
    """

    loss: float
    parts: dict[str, float]
    discriminator: float | None
    gradient_norm: float
    rate: float
    stop: bool

    def scalars(self) -> dict[str, float]:
        """All numbers by name, for the run's log."""
        judged = {} if self.discriminator is None else {"loss_discriminator": self.discriminator}
        parts = {f"loss_{name}": value for name, value in self.parts.items()}
        return {"loss": self.loss, **parts, **judged, "gradient_norm": self.gradient_norm, "rate": self.rate}


class TranslationStep:
    """The generator runs once; the discriminator learns from its images, then it from the discriminator that results.

    The ensemble is not shown to the discriminator; its difference from the target reaches only the ensemble's weights.
    Where the target has no value that counts, the discriminator sees the target in place of the generator's image, so
    that holes do not tell the two apart.

    Args:
        state: of the networks on the processes' device.
    """

    def __init__(self, config: TranslationTrainingConfig, state: TranslationState, processes: Processes) -> None:
        assert isinstance(state.net, Generator)
        self.config, self.state, self.processes = config, state, processes
        self.generator = state.net
        self._generator = processes.wrap(self.generator)
        self._discriminator = None if state.adversary is None else processes.wrap(state.adversary.net)

    def take(self, batch: TranslationBatch, wants_stop: Callable[[], bool] = lambda: False) -> TranslationReport:
        """Step on this process's share of a batch; incrementing `state.step` is left to the caller.

        Args:
            wants_stop: called after the backward passes; whether this process asks for the run to end.

        Raises:
            DivergedError: a loss or a gradient is not finite; the network whose it is has not moved.
        """
        rate = self._prepare()
        with self._autocast():
            prediction: TranslationPrediction = self._generator(*batch.inputs)
        judged = None
        if self.state.adversary is not None:
            judged = self._teach_discriminator(self.state.adversary, batch, prediction)
        with _frozen(None if self.state.adversary is None else self.state.adversary.net):
            parts, loss = self._generator_loss(batch, prediction)
            found = self.processes.sum(torch.stack([*parts.values(), loss]).detach())
            *values, total = (found / self.processes.count).tolist()
            check_finite("loss", total, self.state.step)
            loss.backward()
        norm = clip_gradient(self.generator, self.config.gradient_clip, self.state.step)
        self.state.optimizer.step()
        if self.config.ema_decay:
            self.state.average.update(self.generator, self.state.step)
        return TranslationReport(
            loss=total,
            parts=dict(zip(parts, values, strict=True)),
            discriminator=judged,
            gradient_norm=norm,
            rate=rate,
            stop=any_wants_stop(self.processes, wants_stop),
        )

    def _prepare(self) -> float:
        """Set random seed, learning rates, zero gradients and training mode; the rate."""
        config, state = self.config, self.state
        seed_step(config.seed, self.processes.rank, state.step)
        how = {"learning_rate": config.learning_rate, "factor": rate_factor(config, state.step)}
        if state.adversary is not None:
            prepare(state.adversary.net, state.adversary.optimizer, **how)
        return prepare(self.generator, state.optimizer, **how)

    def _teach_discriminator(
        self, adversary: Adversary, batch: TranslationBatch, prediction: TranslationPrediction
    ) -> float:
        """One step of the discriminator on true and generated images; its loss over the whole batch."""
        assert self._discriminator is not None
        generated = [_without_holes(image.detach(), batch) for image in prediction.per_stream]
        with self._autocast():
            logits = self._discriminator(
                [torch.cat([image, image]) for image in batch.inputs],
                [torch.cat([batch.target, image]) for image in generated],
            )
        on_true, on_generated = logits.float().chunk(2, dim=1)
        loss = discriminator_loss(on_true, on_generated)
        value = self.processes.sum(loss.detach()).item() / self.processes.count
        check_finite("discriminator's loss", value, self.state.step)
        loss.backward()
        clip_gradient(adversary.net, self.config.gradient_clip, self.state.step)
        adversary.optimizer.step()
        return value

    def _generator_loss(
        self, batch: TranslationBatch, prediction: TranslationPrediction
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The parts of the loss, and their weighted sum, such that their means over processes are the whole batch's."""
        config = self.config
        counted = self.processes.sum(batch.counted.sum()).clamp_min(1) / self.processes.count
        parts = {
            f"l1_{name}": reconstruction_loss(image.float(), batch.target, batch.counted) / counted
            for name, image in streams_of(prediction)
        }
        loss = config.reconstruction_weight * torch.stack(list(parts.values())).sum()
        if self.state.adversary is not None:
            judged = [_without_holes(image, batch) for image in prediction.per_stream]
            with self._autocast():
                logits = self.state.adversary.net(batch.inputs, judged)
            parts["adversarial"] = adversarial_loss(logits.float())
            loss = loss + config.adversarial_weight * parts["adversarial"]
        penalty = self.generator.penalty()
        if penalty is not None:
            # processes are averaged over, which a sum over the batch must not be
            parts["penalty"] = penalty.float() * (self.processes.count if self.generator.sums_penalty else 1)
            loss = loss + config.fusion_penalty * parts["penalty"]
        return parts, loss

    def _autocast(self) -> torch.autocast:
        return autocast(self.config.precision, self.processes.device)


def rate_factor(config: TranslationTrainingConfig, step: int) -> float:
    """Of the learning rate of one step, 0-based, to its base."""
    if config.schedule == "cosine":
        return warmup_cosine(step, warmup_steps=config.warmup_steps, total_steps=config.steps)
    return min((step + 1) / (config.warmup_steps + 1), 1.0)


def _without_holes(image: Tensor, batch: TranslationBatch) -> Tensor:
    """The image with the target's pixels where those do not count."""
    return torch.where(batch.counted[:, None], image.to(batch.target.dtype), batch.target)


@contextmanager
def _frozen(net: nn.Module | None) -> Iterator[None]:
    """Keep gradients of the parameters of `net`, if there is one, from being computed."""
    parameters = [] if net is None else list(net.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
