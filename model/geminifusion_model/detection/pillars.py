"""The middle encoder of pillars, and what of a detector on pillars is traced for an artifact.

A pillar is a voxel as high as the range, so the map of the bird's-eye view has its features where a column has points,
and zeros elsewhere. What is trained, exported and served is this form: it needs nothing but gathering, scattering by sum
and by maximum, `GridSample` and two-dimensional layers.

**The traceable part** is `Detector.forward_pillars`, for one frame. Which pillar a point is in, is decided before the
graph by NumPy (`geminifusion_runtime.detection`), on the points as they were measured; points outside the range are left
out there. The graph takes

| tensor | shape, dtype | |
|---|---|---|
| `images` | `1 3 H W` float32 | normalized, H and W multiples of 32, padding at the right and bottom |
| `points` | `P 4` float32 | x, y, z in metres and reflectance 0…1, LiDAR axes, only those in range, P at least 1 |
| `lidar2image` | `1 4 4` float32 | to (u·depth, v·depth, depth, 1), u and v in pixels of `images` |
| `pillar_of_point` | `P` int64 | 0…V-1, the row of `pillars` that a point is in |
| `pillars` | `V 2` int64 | row (y) and column (x) of each pillar in the map, no two alike |

and gives `HeadOutput`, three maps `1 A·K H_b W_b`. A detector that sees no images (`fusion="none"`) takes neither
`images` nor `lidar2image`. Anchors, decoding and suppression follow in NumPy, in the runtime as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PillarScatter(nn.Module):
    """Put the features of pillars where they are in the map."""

    def __init__(self, channels: int, rows: int, columns: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.rows = rows
        self.columns = columns

    def forward(self, features: Tensor, coordinates: Tensor, batch: int) -> Tensor:
        """Features `V C` at `coordinates` `V 4` (sample, z, y, x), z 0, to maps `B C H_y W_x`."""
        sample, _, row, column = coordinates.unbind(1)
        cell = (sample * self.rows + row) * self.columns + column
        canvas = features.new_zeros(batch * self.rows * self.columns, features.shape[1])
        canvas = canvas.index_put((cell,), features)
        return canvas.unflatten(0, (batch, self.rows, self.columns)).permute(0, 3, 1, 2).contiguous()
