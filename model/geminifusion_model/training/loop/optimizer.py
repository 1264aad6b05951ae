"""AdamW with the original's parameter groups (Loshchilov & Hutter, arXiv:1711.05101)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

GroupStyle = Literal["original", "deliver"]


def parameter_groups(
    net: nn.Module,
    *,
    learning_rate: float,
    decoder_factor: float,
    weight_decay: float,
    style: GroupStyle = "original",
) -> list[dict[str, object]]:
    """Encoder parameters with decay, those without, and the decoder with decay and its own rate.

    Args:
        style: what goes without decay. `original`, the authors' choice for NYUv2 and SUN RGB-D: the encoder's norms.
            The ensemble weights are then in no group, so they stay equal and the ensemble a plain mean. `deliver`,
            theirs for DeLiVER: all of the encoder's vectors (norms and biases), and the ensemble weights, which
            are trained only so.
    """
    encoder = [(name, p) for name, p in net.named_parameters() if name.startswith("encoder.")]
    if style == "deliver":
        undecayed = [name for name, p in encoder if is_vector(name, p)]
        ensemble = [p for name, p in net.named_parameters() if name == "ensemble_logits"]
    else:
        undecayed = [name for name, _ in encoder if "norm" in name]
        ensemble = []
    without_decay = frozenset(undecayed)
    return [
        {
            "params": [p for name, p in encoder if name not in without_decay],
            "lr": learning_rate,
            "weight_decay": weight_decay,
        },
        {
            "params": [p for name, p in encoder if name in without_decay] + ensemble,
            "lr": learning_rate,
            "weight_decay": 0.0,
        },
        {
            "params": [p for name, p in net.named_parameters() if name.startswith("decoder.")],
            "lr": learning_rate * decoder_factor,
            "weight_decay": weight_decay,
        },
    ]


def build_optimizer(
    net: nn.Module,
    *,
    learning_rate: float,
    decoder_factor: float,
    weight_decay: float,
    style: GroupStyle = "original",
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`; every group remembers its base rate as `base_lr` for the schedule."""
    groups = parameter_groups(
        net, learning_rate=learning_rate, decoder_factor=decoder_factor, weight_decay=weight_decay, style=style
    )
    for group in groups:
        group["base_lr"] = group["lr"]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)


def is_vector(name: str, parameter: Tensor) -> bool:
    """True if one stream's share of a parameter has a single axis.

    Our norms and fusion biases are stacked over streams; the original keeps them apart and decides by the number of
    axes.
    """
    stacked = "norm" in name or name.endswith(("proj_bias", "fc1_bias", "fc2_bias"))
    return parameter.dim() == 1 or (stacked and parameter.dim() == 2)
