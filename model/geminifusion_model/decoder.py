"""SegFormer's all-MLP decoder (arXiv:2105.15203, sec. 3.2), shared by all streams.

Axes: B batch (streams included), C_i channels of stage i, E decoder channels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class AllMLPDecoder(nn.Module):
    """Project every stage to E channels, fuse at 1/4 resolution, classify.

    As published: linear per stage, bilinear upsampling, concatenation (coarsest first), 1x1 convolution. Both maps are
    linear per pixel and bilinear weights sum to 1, so they commute with the upsampling: here each stage goes through
    the product of both matrices at its own resolution and the upsampled results are added. Same function, same
    gradients, without the `4E` map at 1/4 resolution.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(c, channels) for c in in_channels)
        self.fuse = nn.Conv2d(len(in_channels) * channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def init_weights(self) -> None:
        """Only the fuse convolution departs from torch's defaults."""
        nn.init.normal_(self.fuse.weight, std=math.sqrt(2.0 / self.fuse.out_channels))

    def stage_weights(self) -> list[tuple[Tensor, Tensor]]:
        """Per stage, finest first: the `E C_i` product of both maps and its bias `E`."""
        per_stage = reversed(self.fuse.weight.flatten(1).chunk(len(self.project), dim=1))
        linears = cast(Iterable[nn.Linear], self.project)
        return [(fuse @ project.weight, fuse @ project.bias) for fuse, project in zip(per_stage, linears, strict=True)]

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Maps `B C_i H_i W_i`, finest first, to logits `B K H_1 W_1`."""
        size = pyramid[0].shape[-2:]
        fused: Tensor | None = None
        for feature, (weight, bias) in zip(pyramid, self.stage_weights(), strict=True):
            scale = F.conv2d(feature, weight[:, :, None, None], bias)
            if fused is None:
                fused = scale
            else:
                fused = fused + F.interpolate(scale, size=size, mode="bilinear", align_corners=False)
        assert fused is not None
        return self.classify(self.dropout(F.relu(self.norm(fused))))
