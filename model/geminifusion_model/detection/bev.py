"""The network on the bird's-eye view: blocks of convolutions, each at a lower resolution, side by side at the first's
size (SECOND, Yan et al., Sensors 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geminifusion_model.detection.layers import BevConv


class BevNetwork(nn.Module):
    """A map `B C H W` to `B (blocks·neck_channels) H/s W/s`, s the first block's stride."""

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        depths: Sequence[int],
        strides: Sequence[int],
        neck_channels: int,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.upsample = nn.ModuleList()
        scale = 1  # of the block's map against the first block's
        for index, (width, depth, stride) in enumerate(zip(channels, depths, strides, strict=True)):
            scale *= stride if index else 1
            layers = [BevConv(nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False))]
            layers += [BevConv(nn.Conv2d(width, width, 3, padding=1, bias=False)) for _ in range(depth)]
            self.blocks.append(nn.Sequential(*layers))
            self.upsample.append(BevConv(nn.ConvTranspose2d(width, neck_channels, scale, scale, bias=False)))
            in_channels = width
        self.out_channels = neck_channels * len(channels)

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W` to `B C' H/s W/s`, not negative."""
        maps = []
        for block, upsample in zip(self.blocks, self.upsample, strict=True):
            x = block(x)
            maps.append(upsample(x))
        return torch.cat(maps, dim=1)
