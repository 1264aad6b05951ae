"""Voxels: which points share one, and statistics over their points.

Axes: B samples, P points of a batch, V voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Voxels(NamedTuple):
    """The voxels of a batch, as its points see them.

    Attributes:
        of_point: `P` int64, 0…V-1.
        number: V.
        centers: `P 3`, the centre of each point's voxel in metres.
        coordinates: `V 4` int64 (sample, z, y, x) in lexicographic order, of voxels that have points; None where every
            cell of the map is a voxel.
    """

    of_point: Tensor
    number: int
    centers: Tensor
    coordinates: Tensor | None


class MiddleEncoder(Protocol):
    """What stands between points and the bird's-eye view: it says which voxels there are, and makes a map of them."""

    out_channels: int

    def voxelize(self, points: Sequence[Tensor]) -> tuple[list[Tensor], Voxels]:
        """The points `P_b 4` of each sample that are in range, and their voxels."""

    def __call__(self, features: Tensor, voxels: Voxels, batch: int) -> Tensor:
        """Features `V C`, not negative, to maps `B C' H W`."""


@dataclass(frozen=True, kw_only=True)
class VoxelGrid:
    """Equal voxels over a range.

    Args:
        low: lowest x, y, z in metres.
        size: of a voxel along x, y, z in metres.
        shape: voxels along z, y, x.
    """

    low: tuple[float, float, float]
    size: tuple[float, float, float]
    shape: tuple[int, int, int]


def voxelize(points: Sequence[Tensor], grid: VoxelGrid) -> tuple[list[Tensor], Voxels]:
    """Sort points into voxels, without a limit to the number of either (arXiv:1910.06528).

    Args:
        points: `P_b 4` of each sample; computed in float32, as the original does.

    Returns:
        The points within the range and their voxels.
    """
    low, size = (points[0].new_tensor(values) for values in (grid.low, grid.size))
    kept, places = [], []
    for sample, cloud in enumerate(points):
        index = torch.floor((cloud[:, :3] - low) / size).long().flip(1)  # z, y, x
        inside = ((index >= 0) & (index < index.new_tensor(grid.shape))).all(1)
        kept.append(cloud[inside])
        places.append(F.pad(index[inside], (1, 0), value=sample))
    place = torch.cat(places)
    occupied, of_point = keys_of_places(place, grid.shape).unique(return_inverse=True)
    return kept, Voxels(
        of_point=of_point,
        number=len(occupied),
        centers=place[:, 1:].flip(1).float() * size + (size / 2 + low),
        coordinates=places_of_keys(occupied, grid.shape),
    )


def keys_of_places(places: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """One number for each place `… 4` (sample, z, y, x) in a grid of `shape` (z, y, x), in lexicographic order."""
    depth, rows, columns = shape
    sample, z, y, x = places.unbind(-1)
    return ((sample * depth + z) * rows + y) * columns + x


def places_of_keys(keys: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The inverse of `keys_of_places`: `…` to `… 4`."""
    depth, rows, columns = shape
    sample = keys // (depth * rows * columns)
    return torch.stack([sample, keys // (rows * columns) % depth, keys // columns % rows, keys % columns], dim=-1)


def voxel_mean(values: Tensor, voxels: Voxels) -> Tensor:
    """The mean over each voxel's points: `P C` to `V C`, 0 for a voxel without points."""
    index = voxels.of_point[:, None].expand_as(values)
    total = values.new_zeros(voxels.number, values.shape[1]).scatter_add(0, index, values)
    count = values.new_zeros(voxels.number, 1).scatter_add(0, index[:, :1], torch.ones_like(values[:, :1]))
    return total / count.clamp(min=1.0)


def voxel_max(values: Tensor, voxels: Voxels) -> Tensor:
    """The maximum over each voxel's points of values from 0 on: `P C` to `V C`, 0 for a voxel without points."""
    index = voxels.of_point[:, None].expand_as(values)
    empty = values.new_zeros(voxels.number, values.shape[1])
    return empty.scatter_reduce(0, index, values, "amax", include_self=True)
