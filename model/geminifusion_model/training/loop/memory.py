"""Activation checkpointing (arXiv:1604.06174): less memory for more time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from geminifusion_model.network import GeminiFusion


def checkpoint_activations(net: GeminiFusion) -> None:
    """Let every encoder block keep its input only and compute the rest again when the backward pass needs it.

    Outputs and gradients stay the same to the bit, for the second computation draws the same random numbers. Only
    passes with gradients change; names of parameters do not.
    """
    for stage in net.encoder.stages:
        for block in stage.get_submodule("blocks").children():
            block.forward = _computed_again(block.forward)


def _computed_again(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*arguments: object) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*arguments)
        result: Tensor = checkpoint(forward, *arguments, use_reentrant=False)
        return result

    return run
