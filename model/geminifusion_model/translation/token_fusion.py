"""TokenFusion's exchange as it is in its translation network (arXiv:2204.08721), for comparisons.

The last block of each encoder level scores the tokens that enter it. What its attention gives is weighted by the score,
and where a score is below a threshold it is replaced by what the other stream has in that place.

Axes: S = 2 streams, B batch, N tokens, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geminifusion_model.encoders.mit import Block

THRESHOLD = 0.02


class ScoreNet(nn.Sequential):
    """How much each token of one stream tells, 0…1: `B N C` to the logits of yes and no, `B N 2`."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.LayerNorm(channels),
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, channels // 2),
            nn.GELU(),
            nn.Linear(channels // 2, channels // 4),
            nn.GELU(),
            nn.Linear(channels // 4, 2),
        )


class TokenFusionBlock(Block):
    """A block of two streams that exchange tokens behind the attention's output projection."""

    def __init__(self, channels: int, *arguments: Any) -> None:  # noqa: ANN401 - as `Block` takes them
        super().__init__(channels, *arguments)
        self.score_nets = nn.ModuleList(ScoreNet(channels) for _ in range(2))
        self._total: Tensor | None = None

    def attend(self, x: Tensor, height: int, width: int) -> Tensor:
        """`2 B N C` to `2 B N C`."""
        logits = torch.stack([net(tokens) for net, tokens in zip(self.score_nets, x, strict=True)])
        score = logits.softmax(-1)[..., :1]
        self._total = score.sum() if self.training else None
        weighted = super().attend(x, height, width) * score
        return torch.where(score < THRESHOLD, weighted.flip(0), weighted)

    def penalty(self) -> Tensor | None:
        """The sum of all scores in the last training pass."""
        return self._total


def score_penalty(net: nn.Module) -> Tensor | None:
    """The sum of all scores of the blocks in `net` after a training pass; none if no block has scores."""
    totals = [
        total
        for module in net.modules()
        if isinstance(module, TokenFusionBlock) and (total := module.penalty()) is not None
    ]
    return sum(totals[1:], totals[0]) if totals else None
