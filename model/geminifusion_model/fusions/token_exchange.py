"""TokenFusion: an uninformative pixel is replaced by its counterpart in the other modality (arXiv:2204.08721, eq. 4).

Axes: S = 2 streams, B batch, N pixels, C channels.

    out_i[n] = x_i[n]        where s_i(x_i)[n] >= threshold
               x_{1-i}[n]    elsewhere
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.streams import stream_linear

THRESHOLD = 0.02


class TokenExchange(nn.Module):
    """Exchange of uninformative tokens, with one small score predictor per stream.

    The choice has no gradient; like a straight-through estimator (arXiv:1308.3432) the backward pass takes the score
    itself for it, and `penalty` (an L1 norm of the scores) pushes scores down, so that keeping a token must pay.
    """

    def __init__(self, channels: int, threshold: float = THRESHOLD) -> None:
        super().__init__()
        hidden = max(channels // 4, 8)
        self.threshold = threshold
        self.fc1_weight = nn.Parameter(torch.empty(2, hidden, channels))
        self.fc1_bias = nn.Parameter(torch.zeros(2, hidden))
        self.fc2_weight = nn.Parameter(torch.empty(2, 1, hidden))
        self.fc2_bias = nn.Parameter(torch.zeros(2, 1))
        self._penalty: Tensor | None = None

    def init_weights(self) -> None:
        """Set small weights: every score starts near 1/2, so that no token is exchanged before training says so."""
        nn.init.trunc_normal_(self.fc1_weight, std=0.02)
        nn.init.trunc_normal_(self.fc2_weight, std=0.02)

    def scores(self, x: Tensor) -> Tensor:
        """Informativeness of each token, 0…1: `2 B N C` to `2 B N 1`."""
        rows = x.flatten(1, 2)
        hidden = F.gelu(stream_linear(rows, self.fc1_weight, self.fc1_bias))
        return torch.sigmoid(stream_linear(hidden, self.fc2_weight, self.fc2_bias)).view(*x.shape[:3], 1)

    def forward(self, x: Tensor) -> Tensor:
        """`2 B N C` to `2 B N C`."""
        score = self.scores(x)
        self._penalty = score.mean() if self.training else None
        keep = (score >= self.threshold).to(x.dtype)
        if self.training:
            keep = keep + score - score.detach()
        return keep * x + (1.0 - keep) * x.flip(0)

    def penalty(self) -> Tensor | None:
        """Mean score of the last training pass (scores are positive, so this is their L1 norm per token)."""
        return self._penalty
