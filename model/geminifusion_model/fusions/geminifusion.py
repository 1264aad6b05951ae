"""GeminiFusion: each pixel attends to itself and to the same pixel of the other modality (arXiv:2406.01210, sec. 3).

Axes: S = 2 streams, R rows (batch times pixels), C channels. `own` is stream i, `other` stream 1 - i.

    relation = softmax_C(W2 · gelu(W1 · [own ; other]))          shared by both directions
    keys     = own + key_noise_i , own * relation
    values   = own + value_noise_i , other
    out_i    = own + MultiHeadAttention_i(query=own, keys, values)

The original runs a `MultiheadAttention` with pixels as its batch. Here the two keys enter only through their difference
`(own * (1 - relation) + key_noise) · Wk`, in which the key bias cancels: one key projection instead of two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.fusion_op import FusionFunction, pixelwise_fusion_reference
from geminifusion_model.streams import stream_linear


class Relation(nn.Module):
    """The relation discriminator: how much of the own feature agrees with the other, a distribution over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2 * channels, channels)
        self.fc2 = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`2 R C` to `2 R C`, positive and summing to 1 over C."""
        from_own, from_other = self.fc1.weight.chunk(2, dim=1)
        # W1·[own ; other] as two half products spares the concatenation of both maps
        hidden = F.linear(x, from_own, self.fc1.bias) + F.linear(x, from_other).flip(0)
        return self.fc2(F.gelu(hidden)).softmax(-1)


class GeminiFusionBlock(nn.Module):
    """The pixel-wise fusion with its learned per-layer, per-stream noise.

    `in_proj_weight` is `2 3C C` with rows query, key, value, as in `nn.MultiheadAttention`; likewise the biases.

    Args:
        noise: add the learned noise to the own key and value.
        relation: weigh the second key by the relation; without it the second key is the other's feature. Without both
            this is plain attention of a pixel to itself and its counterpart (the ablations of the paper's table 9).

    Attributes:
        mix_values: what computes the op; `fusion_kernels.choice` may set a faster one.
    """

    def __init__(self, channels: int, num_heads: int, *, noise: bool = True, relation: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.num_heads = num_heads
        self.mix_values: FusionFunction = pixelwise_fusion_reference
        self.in_proj_weight = nn.Parameter(torch.empty(2, 3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(2, 3 * channels))
        self.out_proj_weight = nn.Parameter(torch.empty(2, channels, channels))
        self.out_proj_bias = nn.Parameter(torch.zeros(2, channels))
        self.key_noise = nn.Parameter(torch.empty(2, channels)) if noise else None
        self.value_noise = nn.Parameter(torch.empty(2, channels)) if noise else None
        self.relation = Relation(channels) if relation else None

    def init_weights(self) -> None:
        """The original's start values; `Relation`'s layers are set with all other Linear layers of the encoder."""
        for weight in self.in_proj_weight:
            nn.init.xavier_uniform_(weight)
        nn.init.trunc_normal_(self.out_proj_weight, std=0.02)
        nn.init.zeros_(self.in_proj_bias)
        nn.init.zeros_(self.out_proj_bias)
        for noise in (self.key_noise, self.value_noise):
            if noise is not None:
                nn.init.normal_(noise)

    def forward(self, x: Tensor) -> Tensor:
        """Fuse `2 … C` to `2 … C`; the same place in both streams shows the same pixel."""
        return self._fuse_rows(x.flatten(1, -2)).view_as(x)

    def _fuse_rows(self, x: Tensor) -> Tensor:
        query, key, value = self.in_proj_weight.split(self.channels, dim=1)
        query_bias, _, value_bias = self.in_proj_bias.split(self.channels, dim=1)
        own_value, distinct = x, x - x.flip(0)
        if self.relation is not None:
            distinct = x * (1.0 - self.relation(x))
        if self.key_noise is not None and self.value_noise is not None:
            distinct = distinct + self.key_noise[:, None]
            own_value = x + self.value_noise[:, None]
        mixed = self.mix_values(
            stream_linear(x, query, query_bias),
            stream_linear(distinct, key),
            stream_linear(own_value, value, value_bias),
            stream_linear(x.flip(0), value, value_bias),
            self.num_heads,
        )
        return x + stream_linear(mixed, self.out_proj_weight, self.out_proj_bias)
