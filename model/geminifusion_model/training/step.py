"""One step of the optimiser, by one process or by several together."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from geminifusion_model.data.loader import Batch
from geminifusion_model.fusions.registry import fusion_penalty
from geminifusion_model.network import GeminiFusion, Prediction
from geminifusion_model.training.compiled import check_compiled
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.distributed import Processes
from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.loss import build_losses
from geminifusion_model.training.precision import SMALLEST_SCALE, autocast
from geminifusion_model.training.schedule import rate_factor
from geminifusion_model.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a step found, the same in all processes.

    Args:
        losses: by output (`rgb`, the other stream, and `ensemble` if its weights are trained), over the whole batch.
        penalty: the fusions' weighted sparsity penalty; 0 for those that have none.
        gradient_norm: L2, over all parameters, before clipping; not finite if float16 had to skip the step.
        rate: of the encoder.
        stop: whether a process wants the run to end.
    """

    losses: dict[str, float]
    penalty: float
    gradient_norm: float
    rate: float
    stop: bool

    @property
    def loss(self) -> float:
        """The sum of the streams' losses: comparable between runs, whatever else they train on."""
        return sum(loss for name, loss in self.losses.items() if name != "ensemble")

    def scalars(self) -> dict[str, float]:
        """By name, for the logbook."""
        parts = {f"loss_{name}": loss for name, loss in self.losses.items()}
        penalty = {"penalty": self.penalty} if self.penalty else {}
        return {"loss": self.loss, **parts, **penalty, "gradient_norm": self.gradient_norm, "rate": self.rate}


def seed_step(seed: int, rank: int, step: int) -> None:
    """So a resumed run draws what it would have drawn, and no two processes drop the same paths."""
    torch.manual_seed(int(np.random.SeedSequence((seed, rank, step)).generate_state(1)[0]))


class OptimizerStep:
    """Forward, backward and update, the batch cut into accumulated parts and among processes.

    The gradient is that of the mean over the labelled (and weighted) pixels of the whole batch, however many of them a
    part has. So with frozen or synchronised BatchNorm it does not depend on the number of processes, and with frozen
    not on the number of parts, but for rounding. The loss over hard pixels (`ohem`) is different: which pixels count is
    decided part by part, and all parts weigh the same, as in the original.

    The ensemble's loss reaches only the ensemble's weights, so it is left out where the optimiser does not hold them.

    Args:
        net: as in `state`.
        class_weights: `K` float32 on the processes' device.

    Raises:
        ConfigError: `class_weights` are given for a loss that has no use for them.
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
        """Step on this process's share of a batch; `state.step` is left to the caller.

        Args:
            wants_stop: asked towards the end whether this process wants the run to end.

        Raises:
            TrainingError: a loss or, without a loss scaler, the gradient is not finite, or a compiled network has
                wrong gradients; the weights have not moved.
        """
        rate = self._begin()
        parts = batch.parts(self.config.accumulate)
        if not self._is_trusted:
            self._is_trusted = self._shows_right_gradients(parts[0])
        weights = torch.stack([self._weight(part) for part in parts])
        whole = self.processes.sum(weights.sum()).clamp_min(torch.finfo(weights.dtype).tiny)
        terms = torch.zeros(len(self._outputs) + 1, device=self.processes.device)
        for part, share in zip(parts, (weights / whole).float(), strict=True):
            with contextlib.nullcontext() if part is parts[-1] else self._no_exchange():
                terms += self._accumulate(part, share)
        *found, wishes = self.processes.sum(torch.cat([terms, terms.new_tensor([wants_stop()])])).tolist()
        self._check_finite("loss", sum(found))
        norm = self._update()
        return StepReport(
            losses=dict(zip(self._outputs, found, strict=False)),
            penalty=found[-1],
            gradient_norm=norm,
            rate=rate,
            stop=wishes > 0,
        )

    def _begin(self) -> float:
        config, state = self.config, self.state
        self._seed()
        factor = rate_factor(config, state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        state.optimizer.zero_grad(set_to_none=True)
        self.net.train()
        if config.freeze_decoder_norm:
            self.net.decoder.norm.eval()
        return float(state.optimizer.param_groups[0]["lr"])

    def _seed(self) -> None:
        seed_step(self.config.seed, self.processes.rank, self.state.step)

    def _shows_right_gradients(self, part: Batch) -> bool:
        def loss_by(forward: Callable[..., Prediction]) -> Tensor:
            self._seed()
            with autocast(self.config.precision, self.processes.device):
                prediction = forward(*part.inputs)
            return torch.stack(self._losses(self._that_learn(prediction), part.labels)).sum()

        checked = check_compiled(self.net, loss_by, [p for p in self.net.parameters() if p.requires_grad])
        self._seed()
        return checked

    def _weight(self, part: Batch) -> Tensor:
        """What a part's mean loss counts in the batch's, float64."""
        if self.config.loss == "ohem":
            return torch.ones((), dtype=torch.float64, device=part.labels.device)
        labelled = part.labels[part.labels != self._ignore_index]
        if self._class_weights is None:
            return torch.tensor(labelled.numel(), dtype=torch.float64, device=part.labels.device)
        return self._class_weights[labelled].double().sum()

    def _accumulate(self, part: Batch, share: Tensor) -> Tensor:
        """Add a part's gradients; returns its share in each output's loss and in the penalty."""
        with autocast(self.config.precision, self.processes.device):
            prediction: Prediction = self._model(*part.inputs)
        terms = [loss * share for loss in self._losses(self._that_learn(prediction), part.labels)]
        penalty = fusion_penalty(self.net)
        if penalty is not None:
            terms.append(penalty * (self.config.fusion_penalty / (self.config.accumulate * self.processes.count)))
        # gradients are averaged over processes, but these are shares of one sum
        total = torch.stack(terms).sum() * self.processes.count
        self.state.scaler.scale(total).backward()
        if penalty is None:
            terms.append(total.new_zeros(()))
        return torch.stack(terms).detach()

    def _that_learn(self, prediction: Prediction) -> Prediction:
        """Without the ensemble, if nothing is to be learnt from it."""
        if "ensemble" in self._outputs:
            return prediction
        *others, last = prediction.per_stream
        return Prediction(tuple(others), last)

    def _no_exchange(self) -> contextlib.AbstractContextManager[None]:
        if self.processes.count == 1:
            return contextlib.nullcontext()
        return cast(DistributedDataParallel, self._model).no_sync()

    def _update(self) -> float:
        """Clip, step and average; returns the norm of the gradient."""
        config, state = self.config, self.state
        state.scaler.unscale_(state.optimizer)
        parameters = [parameter for parameter in self.net.parameters() if parameter.grad is not None]
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        value = norm.item()
        if not state.scaler.is_enabled():
            self._check_finite("gradient", value)
        if config.gradient_clip is not None:
            clip_grads_with_norm_(parameters, config.gradient_clip, norm)
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

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {self.state.step}; start a new run with a lower learning_rate, or set "
                "gradient_clip"
            )
