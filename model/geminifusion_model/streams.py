"""Layers whose parameters differ per stream, run for all streams at once.

Axes: S streams, B batch, H W map, N = H·W tokens, R rows (any product of batch and tokens), C channels,
O outputs. Tokens are `S B N C`; as maps they are `SB C H W` views in channels-last memory, so no step copies to change
layout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def tokens_to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """`S B N C` to a `SB C H W` view in channels-last memory."""
    return tokens.flatten(0, 1).unflatten(1, (height, width)).permute(0, 3, 1, 2)


def map_to_tokens(feature: Tensor, num_streams: int) -> Tensor:
    """`SB C H W` to `S B N C`."""
    return feature.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, (num_streams, -1))


class StreamLayerNorm(nn.Module):
    """LayerNorm over C with its own scale and shift for each stream."""

    def __init__(self, num_streams: int, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_streams, channels))
        self.bias = nn.Parameter(torch.zeros(num_streams, channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`S B N C` to `S B N C`."""
        normed = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        return torch.addcmul(self.bias[:, None, None], normed, self.weight[:, None, None])


class StreamDropPath(nn.Module):
    """Stochastic depth (arXiv:1603.09382): a whole sample of one stream skips the branch, the rest is scaled up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`S B N C` to `S B N C`; the identity when not training."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], x.shape[1], 1, 1).bernoulli_(keep).div_(keep)
        return x * mask


def stream_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply to each stream its own affine map.

    Args:
        x: `S R C`.
        weight: `S O C`.
        bias: `S O`, or none.

    Returns:
        `S R O`.
    """
    if bias is None:
        return torch.bmm(x, weight.mT)
    return torch.baddbmm(bias[:, None], x, weight.mT)
