"""AdamW with the original's parameter groups (Loshchilov & Hutter, arXiv:1711.05101)."""

from __future__ import annotations

import torch
from torch import nn


def parameter_groups(
    net: nn.Module, *, learning_rate: float, decoder_factor: float, weight_decay: float
) -> list[dict[str, object]]:
    """Encoder weights with decay, encoder norms without, decoder with decay and its own rate.

    The ensemble weights are in no group, as in the original: they stay equal and the ensemble a plain mean.
    """
    encoder = [(n, p) for n, p in net.named_parameters() if n.startswith("encoder.")]
    return [
        {
            "params": [p for n, p in encoder if "norm" not in n],
            "lr": learning_rate,
            "weight_decay": weight_decay,
        },
        {"params": [p for n, p in encoder if "norm" in n], "lr": learning_rate, "weight_decay": 0.0},
        {
            "params": [p for n, p in net.named_parameters() if n.startswith("decoder.")],
            "lr": learning_rate * decoder_factor,
            "weight_decay": weight_decay,
        },
    ]


def build_optimizer(
    net: nn.Module, *, learning_rate: float, decoder_factor: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`; every group remembers its base rate as `base_lr` for the schedule."""
    groups = parameter_groups(
        net, learning_rate=learning_rate, decoder_factor=decoder_factor, weight_decay=weight_decay
    )
    for group in groups:
        group["base_lr"] = group["lr"]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
