"""The learning-rate schedules, as multipliers of each group's base rate."""

from __future__ import annotations

import math

from geminifusion_model.training.config import TrainingConfig


def rate_factor(config: TrainingConfig, step: int) -> float:
    """The multiplier of `config.schedule` for one step, 0-based."""
    if config.schedule == "cosine":
        return warmup_cosine(
            step, warmup_steps=config.warmup_steps, total_steps=config.steps, ratio=config.warmup_ratio
        )
    return warmup_poly(
        step,
        warmup_steps=config.warmup_steps,
        total_steps=config.decay_steps or config.steps,
        power=config.decay_power,
        ratio=config.warmup_ratio,
        decay_from=config.warmup_steps if config.schedule == "poly_after_warmup" else 0,
    )


def warmup_poly(
    step: int, *, warmup_steps: int, total_steps: int, power: float = 1.0, ratio: float = 1e-6, decay_from: int = 0
) -> float:
    """Linear warm-up from `ratio`, then polynomial decay towards 0 at `total_steps`.

    The decay counts from `decay_from`, and the rate stays where it is after `total_steps`. With `power=1,
    warmup_steps=1500, total_steps=40000`, counting from step 0 and not from the end of the warm-up, this is the
    original's PolyWarmupAdamW; with `power=0.9, ratio=0.1`, counting from there, its schedule for DeLiVER.

    Args:
        step: 0-based; the value is the rate used for this step.
        decay_from: the step whose rate would be the full one.
    """
    if step < warmup_steps:
        return _rising(step, warmup_steps, ratio)
    progress = (min(step, total_steps - 1) - decay_from) / (total_steps - decay_from)
    return float((1.0 - progress) ** power)


def warmup_cosine(step: int, *, warmup_steps: int, total_steps: int, ratio: float = 1e-6) -> float:
    """Linear warm-up from `ratio` to 1, then half a cosine down to 0 at `total_steps` (arXiv:1608.03983, eq. 5).

    Args:
        step: 0-based; the value is the rate used for this step.
    """
    if step < warmup_steps:
        return _rising(step, warmup_steps, ratio)
    progress = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def _rising(step: int, warmup_steps: int, ratio: float) -> float:
    return 1.0 - (1.0 - step / warmup_steps) * (1.0 - ratio)
