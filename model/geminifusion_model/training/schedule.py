"""The learning-rate schedule, as a multiplier of each group's base rate."""

from __future__ import annotations


def warmup_poly(step: int, *, warmup_steps: int, total_steps: int, power: float = 1.0, ratio: float = 1e-6) -> float:
    """Linear warm-up from `ratio`, then polynomial decay towards 0 at `total_steps`.

    The decay counts from step 0, not from the end of the warm-up, and the rate stays where it is after `total_steps`:
    with `power=1, warmup_steps=1500, total_steps=40000` this is the original's PolyWarmupAdamW.

    Args:
        step: 0-based; the value is the rate used for this step.
    """
    if step < warmup_steps:
        return 1.0 - (1.0 - step / warmup_steps) * (1.0 - ratio)
    return float((1.0 - min(step, total_steps - 1) / total_steps) ** power)
