"""Channel exchange (CEN): a channel that its norm has scaled to nothing is replaced by the other modality's.

Wang et al., NeurIPS 2020, arXiv:2011.05005, eq. 6, with LayerNorm scales in the place of BatchNorm's.

Axes: S = 2 streams, B batch, N pixels, C channels.

    out_i[c] = norm_i(x_i)[c]           where |scale_i[c]| > threshold
               norm_{1-i}(x_{1-i})[c]   elsewhere
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geminifusion_model.streams import StreamLayerNorm

THRESHOLD = 0.02


class ChannelExchange(nn.Module):
    """Exchange of channels, with the paper's rule on which scales are to become sparse.

    The penalty falls on the first half of stream 0's scales and on the second half of stream 1's, so that no channel
    can be given up by both.
    """

    def __init__(self, channels: int, threshold: float = THRESHOLD) -> None:
        super().__init__()
        self.norm = StreamLayerNorm(2, channels)
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """`2 B N C` to `2 B N C`."""
        normed = self.norm(x)
        keep = (self.norm.weight.abs() > self.threshold)[:, None, None]
        return torch.where(keep, normed, normed.flip(0))

    def penalty(self) -> Tensor:
        """Mean absolute value of the scales that are to become sparse."""
        half = self.norm.weight.shape[1] // 2
        return torch.cat([self.norm.weight[0, :half], self.norm.weight[1, half:]]).abs().mean()
