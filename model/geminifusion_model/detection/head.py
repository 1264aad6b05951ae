"""The detection head: for every anchor of every cell, class logits, a box's numbers and which way it faces."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn

from geminifusion_runtime.detection.boxes import BOX_NUMBERS
from geminifusion_runtime.detection.selection import HeadMaps

DIRECTIONS = 2
_PRIOR = 0.01  # the probability that an anchor has an object, at the start


class HeadOutput(NamedTuple):
    """Maps whose channels count a cell's anchors (class, yaw) and within each its numbers.

    Attributes:
        classes: logits `B A·K H W`, K classes.
        boxes: numbers `B A·7 H W`, as `geminifusion_runtime.detection.anchors` codes them.
        directions: logits `B A·2 H W`.
    """

    classes: Tensor
    boxes: Tensor
    directions: Tensor

    def per_anchor(self, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same as `B N K`, `B N 7` and `B N 2`, the N anchors in the order row, column, class, yaw."""
        classes, boxes, directions = (
            feature.permute(0, 2, 3, 1).reshape(feature.shape[0], -1, numbers)
            for feature, numbers in zip(self, (num_classes, BOX_NUMBERS, DIRECTIONS), strict=True)
        )
        return classes, boxes, directions

    def frame_maps(self, sample: int, num_classes: int) -> HeadMaps:
        """One frame's numbers in NumPy, for `geminifusion_runtime.detection.selection.select`."""
        classes, boxes, directions = (
            feature[sample].detach().float().permute(1, 2, 0).unflatten(-1, (-1, numbers)).cpu().numpy()
            for feature, numbers in zip(self, (num_classes, BOX_NUMBERS, DIRECTIONS), strict=True)
        )
        return HeadMaps(classes, boxes, directions)


class DetectionHead(nn.Module):
    """Three 1x1 convolutions."""

    def __init__(self, in_channels: int, anchors_per_cell: int, num_classes: int) -> None:
        super().__init__()
        self.classes = nn.Conv2d(in_channels, anchors_per_cell * num_classes, 1)
        self.boxes = nn.Conv2d(in_channels, anchors_per_cell * BOX_NUMBERS, 1)
        self.directions = nn.Conv2d(in_channels, anchors_per_cell * DIRECTIONS, 1)
        for layer in (self.classes, self.boxes, self.directions):
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        assert self.classes.bias is not None
        nn.init.constant_(self.classes.bias, math.log(_PRIOR / (1 - _PRIOR)))

    def forward(self, x: Tensor) -> HeadOutput:
        """`B C H W` to the three maps."""
        return HeadOutput(self.classes(x), self.boxes(x), self.directions(x))
