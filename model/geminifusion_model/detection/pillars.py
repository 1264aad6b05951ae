"""The middle encoder of pillars, and what of a detector on pillars is traced for an artifact.

A pillar is a voxel as high as the range, so the map of the bird's-eye view has its features where a column has points,
and zeros elsewhere. What is trained, exported and served is this form: it needs nothing but gathering, scattering by
sum and by maximum, `GridSample` and two-dimensional layers.

**The traceable part** is `Detector.forward_pillars`, for one frame. Which pillar a point is in, is decided before the
graph by `geminifusion_runtime.detection.pillars.pillars`, which leaves out the points that are not in range. The graph
takes

| tensor | shape, dtype | |
|---|---|---|
| `images` | `1 3 H W` float32 | normalized; H and W multiples of 32, padding at the right and bottom |
| `points` | `P 4` float32 | x, y, z in metres and reflectance 0…1, LiDAR axes, only those in range; P may be 0 |
| `pillar_index` | `P` int64 | row · columns + column of each point's pillar |
| `lidar2image` | `1 4 4` float32 | to (u·depth, v·depth, depth, 1), u and v in pixels of `images`, from the edge |

and gives `HeadOutput`, three maps `1 A·K H_a W_a`. A detector that sees no images (`fusion="none"`) takes neither
`images` nor `lidar2image` (both are None). Decoding and suppression follow in NumPy, in the runtime as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geminifusion_model.detection.voxels import Voxels
from geminifusion_runtime.detection.pillars import pillars
from geminifusion_runtime.detection.settings import GridSettings


class PillarMap(nn.Module):
    """Every cell of the map is a pillar, with points or without.

    Args:
        in_channels: of the pillars, which are the map's.
        grid: the range and its columns.
    """

    def __init__(self, in_channels: int, grid: GridSettings) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.grid = grid

    def voxelize(self, points: Sequence[Tensor]) -> tuple[list[Tensor], Voxels]:
        """The points `P_b 4` of each sample that are in range, and their pillars; computed on the CPU."""
        kept, index = [], []
        for sample, cloud in enumerate(points):
            found = pillars(cloud.detach().cpu().numpy(), self.grid)
            kept.append(torch.from_numpy(found.points).to(cloud.device))
            index.append(torch.from_numpy(found.index + sample * math.prod(self.grid.shape)).to(cloud.device))
        return kept, self.voxels(torch.cat(index), len(points))

    def voxels(self, pillar_index: Tensor, batch: int) -> Voxels:
        """The pillars of points; traceable.

        Args:
            pillar_index: `P` int64, row · columns + column, counted through the samples of the batch.
        """
        rows, columns = self.grid.shape
        cell = pillar_index % (rows * columns)
        low, size = (torch.tensor(values, device=cell.device) for values in (self.grid.low, self.grid.pillar_size))
        across = torch.stack([cell % columns, cell // columns], dim=1).float() * size + (size / 2 + low[:2])
        middle = (self.grid.low[2] + self.grid.high[2]) / 2
        centers = torch.cat([across, torch.full_like(across[:, :1], middle)], dim=1)
        return Voxels(of_point=pillar_index, number=batch * rows * columns, centers=centers, coordinates=None)

    def forward(self, features: Tensor, voxels: Voxels, batch: int) -> Tensor:
        """Features of all pillars `B·rows·columns C`, 0 where there are no points, to maps `B C rows columns`."""
        assert voxels.coordinates is None, "these voxels are not those of pillars"
        return features.unflatten(0, (batch, *self.grid.shape)).permute(0, 3, 1, 2).contiguous()
