"""Fusion of image features and LiDAR point features, point by point (arXiv:2406.01210, sec. 4.4).

Each point is projected into the image, where a feature pyramid is sampled; the two features of a point then meet in the
same pixel-wise fusion as two images do, with points in place of pixels. The fused pair is averaged with learned shares.
In stock MVX-Net (arXiv:1904.01649), the baseline, they are added.

Axes: B batch, P points of the whole batch, C channels, M channels of a sampled level, I_l H_l W_l level l of the
image pyramid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.fusions.geminifusion import GeminiFusionBlock

NUM_HEADS = 8
_NEAREST_DEPTH_M = 1e-3
_OUTSIDE = -1.0  # in shares of the width and height: so far that no level's border reaches


def project_points(points: Tensor, lidar2image: Tensor, size: tuple[int, int]) -> Tensor:
    """Where points are in an image, for `PointFusion`; traceable.

    Args:
        points: `P 3` or more numbers, of which the first three are x, y, z in metres.
        lidar2image: `4 4`, from the points as they are to (u·depth, v·depth, depth, 1), u and v in pixels of the image,
            counted from its edge. What was done to points and image since they were measured is part of it (see
            `geminifusion_model.detection.projection`).
        size: height and width of the image, padding included.

    Returns:
        `P 2`, shares 0…1 of width and height within the image; for points that are not before the camera a place
        outside.
    """
    across, down, depth = (points[:, :3] @ lidar2image[:3, :3].T + lidar2image[:3, 3]).unbind(1)
    near = depth.clamp(min=_NEAREST_DEPTH_M)
    places = torch.stack([across / (near * size[1]), down / (near * size[0])], dim=1)
    return torch.where(depth[:, None] > 0, places, _OUTSIDE)


class Projection(nn.Module):
    """A linear map and a batch norm."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, channels)
        self.norm = nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """`P C'` to `P C`."""
        return self.norm(self.linear(x))


class PointFusion(nn.Module):
    """A layer for a detector that has images and points (in the original: behind both voxel feature layers of MVX-Net).

    Args:
        level_channels: channels of each level of the image pyramid.
        point_channels: channels of the points' features.
        channels: C of the output, a multiple of 8.
        sampled_channels: M, what each level is reduced to before it is sampled; C if none.
        fusion: `geminifusion`, or `sum`, the ReLU of the sum of both, as stock MVX-Net has it.

    Raises:
        ValueError: a number is out of range; the message names it.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        point_channels: int,
        channels: int,
        sampled_channels: int | None = None,
        *,
        fusion: Literal["geminifusion", "sum"] = "geminifusion",
    ) -> None:
        super().__init__()
        sampled = channels if sampled_channels is None else sampled_channels
        if fusion not in ("geminifusion", "sum"):
            raise ValueError(f"fusion is {fusion!r}; expected 'geminifusion' or 'sum'")
        if channels < 1 or (channels % NUM_HEADS and fusion == "geminifusion"):
            raise ValueError(f"channels is {channels}; expected a positive multiple of {NUM_HEADS}")
        if not level_channels or min(*level_channels, point_channels, sampled) < 1:
            raise ValueError(
                f"level_channels are {tuple(level_channels)}, point_channels {point_channels} and sampled_channels "
                f"{sampled}; expected at least one level and all of them positive"
            )
        self.lateral = nn.ModuleList(nn.Conv2d(level, sampled, 3, padding=1) for level in level_channels)
        self.image_projection = Projection(len(level_channels) * sampled, channels)
        self.point_projection = Projection(point_channels, channels)
        self.fusion: GeminiFusionBlock | None = None
        if fusion == "geminifusion":
            self.fusion = GeminiFusionBlock(channels, NUM_HEADS)
            self.share_logits = nn.Parameter(torch.ones(2))
        self.init_weights()

    def init_weights(self) -> None:
        """The original's start values: Xavier for every convolution and linear map, also within the fusion."""
        for layer in self.lateral:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for projection in (self.image_projection, self.point_projection):
            nn.init.xavier_uniform_(projection.linear.weight)
            nn.init.zeros_(projection.linear.bias)
        if self.fusion is None:
            return
        self.fusion.init_weights()
        for weight in self.fusion.out_proj_weight:
            nn.init.xavier_uniform_(weight)
        for linear in self.fusion.modules():
            if isinstance(linear, nn.Linear):
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)

    def forward(self, pyramid: Sequence[Tensor], pixels: Sequence[Tensor], points: Tensor) -> Tensor:
        """Fuse the features of all points of a batch.

        Args:
            pyramid: maps `B I_l H_l W_l`, all of the same images.
            pixels: for each image its points' places `P_b 2` as (x, y), shares 0…1 of the image's width and height
                (padding included), as `project_points` gives them; outside of it the image's feature is zero.
            points: features `P C'` in the order of `pixels`, P the sum of all `P_b`.

        Returns:
            `P C`, not negative.

        Raises:
            ValueError: numbers of levels, images or points do not agree.
        """
        if len(pyramid) != len(self.lateral):
            raise ValueError(f"the pyramid has {len(pyramid)} levels; expected {len(self.lateral)}")
        images, places = pyramid[0].shape[0], sum(len(place) for place in pixels)
        if len(pixels) != images or places != len(points):
            raise ValueError(
                f"got {images} images, places of {len(pixels)} images, {places} places and {len(points)} points; "
                "expected one list of places per image and one place per point"
            )
        return self.fuse(self.sample(pyramid, pixels), points)

    def sample(self, pyramid: Sequence[Tensor], pixels: Sequence[Tensor]) -> Tensor:
        """The image's features at the points, all levels side by side: `P (levels·M)`."""
        levels = []
        for layer, feature in zip(self.lateral, pyramid, strict=True):
            reduced = layer(feature)
            per_image = [
                F.grid_sample(image[None], 2.0 * place[None, None] - 1.0, padding_mode="zeros", align_corners=False)
                for image, place in zip(reduced, pixels, strict=True)
            ]
            levels.append(torch.cat([sampled[0, :, 0].T for sampled in per_image]))
        return torch.cat(levels, dim=1)

    def fuse(self, image_features: Tensor, points: Tensor) -> Tensor:
        """Sampled image features `P (levels·M)` and point features `P C'` to `P C`."""
        pair = torch.stack([self.image_projection(image_features), self.point_projection(points)])
        if self.fusion is None:
            return F.relu(pair.sum(0))
        shares = self.share_logits.softmax(0)
        return F.relu(torch.einsum("s,spc->pc", shares, self.fusion(pair)))
