"""Two or three modalities beside RGB become one stream (the self-query hub of CMNeXt, arXiv:2303.01480, sec. 3.2).

Each modality weighs its own pixels by a score, and the strongest value of each channel goes on.

Axes: E modalities beside RGB, M = E + 1, B batch, C channels, H W map, N = H·W tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from geminifusion_model.streams import tokens_to_map


class ScoreNet(nn.Module):
    """Attention scores of one modality's pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, 1, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """`B C H W` to scores `B 1 H W` in 0…1."""
        return torch.sigmoid(self.pointwise(self.depthwise(feature)))


class ModalityMerge(nn.Module):
    """Re-weight the modalities beside RGB and take their elementwise maximum."""

    def __init__(self, num_extras: int, channels: int) -> None:
        super().__init__()
        self.score_nets = nn.ModuleList(ScoreNet(channels) for _ in range(num_extras))

    def init_weights(self) -> None:
        """The original's start values, on top of those the encoder gives all convolutions."""
        for net in cast(Iterable[ScoreNet], self.score_nets):
            # as if the convolution were dense: scores then start in the sloping part of the sigmoid
            fan_out = math.prod(net.depthwise.kernel_size) * net.depthwise.out_channels
            nn.init.normal_(net.depthwise.weight, std=math.sqrt(2.0 / fan_out))

    def forward(self, tokens: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """`M B N C`, RGB first, to the pair `2 B N C` and the re-weighted extras `E B N C`."""
        weighted = []
        for net, extra in zip(self.score_nets, tokens[1:], strict=True):
            score = net(tokens_to_map(extra.unsqueeze(0), height, width))
            weighted.append(extra * (1.0 + score.flatten(2).mT))
        extras = torch.stack(weighted)
        return torch.stack([tokens[0], extras.amax(0)]), extras
