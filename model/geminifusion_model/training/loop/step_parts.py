"""What the steps of all training runs have in common: their random numbers, rates, precision, gradients and ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from geminifusion_model.training.errors import DivergedError
from geminifusion_model.training.loop.distributed import Processes

_HALF_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def seed_step(seed: int, rank: int, step: int) -> None:
    """Seed torch by (seed, rank, step): a resumed run draws the same numbers, and processes drop different paths."""
    torch.manual_seed(int(np.random.SeedSequence((seed, rank, step)).generate_state(1)[0]))


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context for forward passes: half precision where torch deems it harmless (arXiv:1710.03740)."""
    dtype = _HALF_PRECISIONS.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def computed_dtype(precision: str) -> torch.dtype:
    """What matrix products are computed in under `autocast`."""
    return _HALF_PRECISIONS.get(precision, torch.float32)


def prepare(net: nn.Module, optimizer: torch.optim.Optimizer, *, learning_rate: float, factor: float) -> float:
    """Put a network into training mode without gradients, at the rates of this step.

    Args:
        learning_rate: of groups without a `base_lr` of their own.
        factor: of all rates in this step.

    Returns:
        The rate of the first group.
    """
    for group in optimizer.param_groups:
        group["lr"] = group.get("base_lr", learning_rate) * factor
    optimizer.zero_grad(set_to_none=True)
    net.train()
    return float(optimizer.param_groups[0]["lr"])


def check_finite(what: str, value: float, step: int) -> None:
    """Check a loss, or the norm of a gradient.

    Raises:
        DivergedError: it is no number.
    """
    if not math.isfinite(value):
        raise DivergedError(
            f"the {what} is {value} at step {step}; start a new run with a lower learning_rate, or set gradient_clip"
        )


def clip_gradient(net: nn.Module, limit: float | None, step: int, *, may_overflow: bool = False) -> float:
    """Bound the L2 norm of a network's gradient; the norm before.

    Args:
        limit: not bounded if none.
        may_overflow: leave it to a loss scaler to skip a step whose gradient is not finite.

    Raises:
        DivergedError: the gradient is not finite.
    """
    parameters = [parameter for parameter in net.parameters() if parameter.grad is not None]
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    value = norm.item()
    if not may_overflow:
        check_finite("gradient", value, step)
    if limit is not None:
        clip_grads_with_norm_(parameters, limit, norm)
    return value


def any_wants_stop(processes: Processes, wants_stop: Callable[[], bool]) -> bool:
    """Whether any process asks for the run to end; the same in all."""
    return processes.sum(torch.tensor([float(wants_stop())], device=processes.device)).item() > 0
