"""One optimizer step, by one process or by several together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from geminifusion_model.data.loader import Batch
from geminifusion_model.fusions.registry import fusion_penalty
from geminifusion_model.network import GeminiFusion, Prediction
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.loop.compiled import check_compiled
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.loss import build_losses
from geminifusion_model.training.loop.schedule import rate_factor
from geminifusion_model.training.loop.state import TrainingState
from geminifusion_model.training.loop.step_parts import autocast, check_finite, clip_gradient, prepare, seed_step

# The loss scale is halved at each gradient that is not finite: 26 in a row from torch's initial scale, after which the
# scale is no longer to blame.
SMALLEST_SCALE = 2.0**-10


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Results of a step, the same in all processes.

    Args:
        losses: by output (`rgb`, the other stream, and `ensemble` if its weights are trained), over the whole batch.
        penalty: the fusions' weighted sparsity penalty; 0 for those that have none.
        gradient_norm: L2, over all parameters, before clipping; not finite if float16 had to skip the step.
        rate: of the encoder.
        stop: whether any process asks for the run to end.
    """

    losses: dict[str, float]
    penalty: float
    gradient_norm: float
    rate: float
    stop: bool

    @property
    def loss(self) -> float:
        """The sum of the streams' losses, which is comparable between runs whatever else they train on."""
        return sum(loss for name, loss in self.losses.items() if name != "ensemble")

    def scalars(self) -> dict[str, float]:
        """All numbers by name, for the run's log."""
        parts = {f"loss_{name}": loss for name, loss in self.losses.items()}
        penalty = {"penalty": self.penalty} if self.penalty else {}
        return {"loss": self.loss, **parts, **penalty, "gradient_norm": self.gradient_norm, "rate": self.rate}


class OptimizerStep:
    """Forward, backward and update, with the batch cut into accumulated parts and shared among processes.

    The gradient is that of the mean over the labeled (and weighted) pixels of the whole batch, however they are
    distributed over the parts. With frozen or synchronized BatchNorm it therefore does not depend on the number of
    processes, and with frozen BatchNorm not on the number of parts, except for rounding. The loss over hard pixels
    (`ohem`) differs: pixels are chosen part by part, and all parts weigh the same, as in the original.

    The ensemble's loss reaches only the ensemble's weights, so it is left out where the optimizer does not hold them.

    Args:
        net: the network of `state`.
        class_weights: `K` float32 on the processes' device.

    Raises:
        ConfigError: `class_weights` are given for a loss that does not use them.
    """

    def __init__(
        self,
        config: TrainingConfig,
        net: GeminiFusion,
        state: TrainingState,
        processes: Processes,
        *,
        ignore_index: int,
        class_weights: Tensor | None = None,
    ) -> None:
        self.config, self.net, self.state, self.processes = config, net, state, processes
        self._model = processes.wrap(net)
        self._is_trusted = not config.compile
        self._losses = build_losses(config, class_weights, ignore_index)
        self._class_weights, self._ignore_index = class_weights, ignore_index
        names = net.config.modalities
        others = names[1] if len(names) == 2 else "merged"
        self._outputs = ("rgb", others)[: net.config.num_streams]
        if net.ensemble_logits.requires_grad:
            self._outputs += ("ensemble",)

    def take(self, batch: Batch, wants_stop: Callable[[], bool] = lambda: False) -> StepReport:
        """Step on this process's share of a batch; incrementing `state.step` is left to the caller.

        Args:
            wants_stop: called after the backward pass; whether this process asks for the run to end.

        Raises:
            TrainingError: a loss or, without a loss scaler, the gradient is not finite, or a compiled network has
                wrong gradients; the weights have not moved.
        """
        rate = self._prepare()
        parts = batch.parts(self.config.accumulate)
        if not self._is_trusted:
            self._is_trusted = self._compiled_gradients_agree(parts[0])
        weights = torch.stack([self._loss_weight(part) for part in parts])
        whole = self.processes.sum(weights.sum()).clamp_min(torch.finfo(weights.dtype).tiny)
        terms = torch.zeros(len(self._outputs) + 1, device=self.processes.device)
        for part, share in zip(parts, (weights / whole).float(), strict=True):
            with contextlib.nullcontext() if part is parts[-1] else self._without_gradient_sync():
                terms += self._forward_backward(part, share)
        *found, stops = self.processes.sum(torch.cat([terms, terms.new_tensor([wants_stop()])])).tolist()
        check_finite("loss", sum(found), self.state.step)
        norm = self._update_weights()
        return StepReport(
            losses=dict(zip(self._outputs, found, strict=False)),
            penalty=found[-1],
            gradient_norm=norm,
            rate=rate,
            stop=stops > 0,
        )

    def _prepare(self) -> float:
        """Set random seed, learning rates, zero gradients and training mode; the encoder's rate."""
        config, state = self.config, self.state
        self._seed_random_numbers()
        factor = rate_factor(config, state.step)
        rate = prepare(self.net, state.optimizer, learning_rate=config.learning_rate, factor=factor)
        if config.freeze_decoder_norm:
            self.net.decoder.norm.eval()
        return rate

    def _seed_random_numbers(self) -> None:
        seed_step(self.config.seed, self.processes.rank, self.state.step)

    def _compiled_gradients_agree(self, part: Batch) -> bool:
        """Compare the compiled network's gradients on one part with the plain ones; see `check_compiled`."""

        def loss_by(forward: Callable[..., Prediction]) -> Tensor:
            self._seed_random_numbers()
            with self._autocast():
                prediction = forward(*part.inputs)
            return torch.stack(self._losses(self._trained_outputs(prediction), part.labels)).sum()

        checked = check_compiled(self.net, loss_by, [p for p in self.net.parameters() if p.requires_grad])
        self._seed_random_numbers()
        return checked

    def _loss_weight(self, part: Batch) -> Tensor:
        """The weight of a part's mean loss in the batch's, a float64 scalar: its labeled, class-weighted pixels."""
        if self.config.loss == "ohem":
            return torch.ones((), dtype=torch.float64, device=part.labels.device)
        labeled = part.labels[part.labels != self._ignore_index]
        if self._class_weights is None:
            return torch.tensor(labeled.numel(), dtype=torch.float64, device=part.labels.device)
        return self._class_weights[labeled].double().sum()

    def _forward_backward(self, part: Batch, share: Tensor) -> Tensor:
        """Run one part forward and backward, adding to the gradients; its share in each output's loss, and penalty."""
        with self._autocast():
            prediction: Prediction = self._model(*part.inputs)
        terms = [loss * share for loss in self._losses(self._trained_outputs(prediction), part.labels)]
        penalty = fusion_penalty(self.net)
        if penalty is not None:
            terms.append(penalty * (self.config.fusion_penalty / (self.config.accumulate * self.processes.count)))
        # gradients are averaged over processes, but these are shares of one sum
        total = torch.stack(terms).sum() * self.processes.count
        self.state.scaler.scale(total).backward()
        if penalty is None:
            terms.append(total.new_zeros(()))
        return torch.stack(terms).detach()

    def _update_weights(self) -> float:
        """Clip the gradients, step the optimizer, update the average; the norm of the gradient before clipping."""
        config, state = self.config, self.state
        state.scaler.unscale_(state.optimizer)
        value = clip_gradient(self.net, config.gradient_clip, state.step, may_overflow=state.scaler.is_enabled())
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.scaler.is_enabled() and state.scaler.get_scale() < SMALLEST_SCALE:
            raise TrainingError(
                f"float16 finds no scale at which gradients are finite, up to step {state.step}; start a new run with "
                "a lower learning_rate, or with precision bfloat16 or float32"
            )
        if config.ema_decay:
            state.average.update(self.net, state.step)
        return value

    def _autocast(self) -> torch.autocast:
        return autocast(self.config.precision, self.processes.device)

    def _trained_outputs(self, prediction: Prediction) -> Prediction:
        """The prediction without the ensemble where its weights are not trained."""
        if "ensemble" in self._outputs:
            return prediction
        *others, last = prediction.per_stream
        return Prediction(tuple(others), last)

    def _without_gradient_sync(self) -> contextlib.AbstractContextManager[None]:
        """Accumulate gradients in this process alone, for all parts but the last."""
        if self.processes.count == 1:
            return contextlib.nullcontext()
        return cast(DistributedDataParallel, self._model).no_sync()
