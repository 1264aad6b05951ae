"""Full cross-attention between the modalities: every pixel of one attends to every pixel of the other.

    out_i = softmax(x_i·Wq_i · (x_{1-i}·Wk_i)^T / sqrt(C / G)) · (x_{1-i}·Wv_i) + x_i

The baseline that GeminiFusion is compared with (arXiv:2406.01210, sec. 3.1): its cost is quadratic in the number of
pixels. Its memory is not, because the attention matrix is never materialized.

Axes: S = 2 streams, B batch, N pixels, C channels, G heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.streams import stream_linear


class CrossAttention(nn.Module):
    """Cross-attention in both directions, each with its own projections (rows query, key, value)."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.channels, self.num_heads = channels, num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(2, 3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(2, 3 * channels))

    def init_weights(self) -> None:
        """Set start values as `nn.MultiheadAttention` does."""
        for weight in self.in_proj_weight:
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """`2 B N C` to `2 B N C`."""
        query_weight, other_weight = self.in_proj_weight.split([self.channels, 2 * self.channels], dim=1)
        query_bias, other_bias = self.in_proj_bias.split([self.channels, 2 * self.channels], dim=1)
        rows = x.flatten(1, 2)
        query = stream_linear(rows, query_weight, query_bias).view_as(x)
        key, value = stream_linear(rows.flip(0), other_weight, other_bias).view(*x.shape[:3], -1).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(self._heads(query), self._heads(key), self._heads(value))
        return x + mixed.transpose(1, 2).reshape(x.shape)

    def _heads(self, x: Tensor) -> Tensor:
        """`2 B N C` to `2B G N C/G`."""
        return x.flatten(0, 1).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
