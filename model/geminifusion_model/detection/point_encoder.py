"""Features of points and of their voxels; images' features join behind one or both layers (arXiv:1904.01649).

Axes: B samples, P points of a batch, V voxels, C channels, I_l H_l W_l level l of the image pyramid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.detection.config import DetectorConfig
from geminifusion_model.detection.layers import POINT_NORM_EPS, POINT_NORM_MOMENTUM
from geminifusion_model.detection.voxels import Voxels, voxel_max, voxel_mean
from geminifusion_model.fusions.point_fusion import PointFusion

_POINT_NUMBERS = 10  # position and reflectance, offsets from the voxel's mean and from its centre


class PointLayer(nn.Module):
    """A linear map without bias, a batch norm and a ReLU: `P C` to `P C'`."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=POINT_NORM_EPS, momentum=POINT_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """`P C` to `P C'`, not negative."""
        return F.relu(self.norm(self.linear(x)))


class PointEncoder(nn.Module):
    """Two point layers; behind the first, each point also gets the maximum over its voxel."""

    def __init__(self, config: DetectorConfig, num_levels: int) -> None:
        super().__init__()
        first, second = config.point_channels
        self.first = PointLayer(_POINT_NUMBERS, first)
        self.second = PointLayer(2 * first, second)
        self.first_fusion: PointFusion | None = None
        self.last_fusion: PointFusion | None = None
        self.out_channels = second
        if config.fusion != "none":
            levels = [config.pyramid_channels] * num_levels
            if config.fusion_layers == "both":
                self.first_fusion = PointFusion(levels, first, first, fusion=config.fusion)
            self.last_fusion = PointFusion(levels, second, config.fused_channels, fusion=config.fusion)
            self.out_channels = config.fused_channels

    def forward(self, points: Tensor, voxels: Voxels, pyramid: Sequence[Tensor], pixels: Sequence[Tensor]) -> Tensor:
        """Features of voxels.

        Args:
            points: `P 4`, all samples' one after the other.
            pyramid: levels `B I_l H_l W_l`; empty without a fusion.
            pixels: places `P_b 2` of each sample's points in its image; empty without a fusion.

        Returns:
            `V C`, not negative, 0 for a voxel without points.
        """
        position = points[:, :3]
        mean = voxel_mean(position, voxels)[voxels.of_point]
        features = self.first(torch.cat([points, position - mean, position - voxels.centers], dim=1))
        if self.first_fusion is not None:
            features = self.first_fusion(pyramid, pixels, features)
        features = torch.cat([features, voxel_max(features, voxels)[voxels.of_point]], dim=1)
        features = self.second(features)
        if self.last_fusion is not None:
            features = self.last_fusion(pyramid, pixels, features)
        return voxel_max(features, voxels)
