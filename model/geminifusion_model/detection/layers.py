"""Layers that several parts of the detector share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

POINT_NORM_EPS = 1e-3  # of every norm of points, voxels and the bird's-eye view
POINT_NORM_MOMENTUM = 0.01


class ConvNorm(nn.Module):
    """A convolution and a batch norm."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, *, eps: float, momentum: float = 0.1) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels, eps=eps, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W` to `B C' H' W'`."""
        return self.norm(self.conv(x))


class BevConv(ConvNorm):
    """The same with the norm of the bird's-eye view and a ReLU."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__(conv, eps=POINT_NORM_EPS, momentum=POINT_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W` to `B C' H' W'`, not negative."""
        return F.relu(super().forward(x))
