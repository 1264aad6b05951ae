"""Sparse convolution in three dimensions, in plain torch and differentiable, and the middle encoder made of it.

For every cell of the kernel, the pairs of an input site and the output site it reaches are found by binary search in
the sorted keys of the sites; their features are gathered, multiplied and added up.

Axes: V sites, C channels, K cells of a kernel (z, y, x).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.detection.layers import POINT_NORM_EPS, POINT_NORM_MOMENTUM
from geminifusion_model.detection.voxels import VoxelGrid, Voxels, keys_of_places, places_of_keys, voxelize

Triple = tuple[int, int, int]  # z, y, x
Pairs = list[tuple[Tensor, Tensor]]  # of every kernel cell: rows of the input, rows of the output


@dataclass(frozen=True)
class Sites:
    """The active cells of a grid.

    Args:
        coordinates: `V 4` int64 (sample, z, y, x) in lexicographic order, no two alike.
        shape: cells along z, y, x.
    """

    coordinates: Tensor
    shape: Triple


def same_site_pairs(sites: Sites) -> Pairs:
    """The pairs of a submanifold convolution of 3x3x3 cells, whose output has the sites of its input."""
    keys = keys_of_places(sites.coordinates, sites.shape)
    limits = keys.new_tensor(sites.shape)
    pairs = []
    for cell in itertools.product((-1, 0, 1), repeat=3):
        neighbor = sites.coordinates + sites.coordinates.new_tensor((0, *cell))
        inside = ((neighbor[:, 1:] >= 0) & (neighbor[:, 1:] < limits)).all(1)
        wanted = keys_of_places(neighbor, sites.shape)
        row = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        found = inside & (keys[row] == wanted)
        pairs.append((row[found], found.nonzero()[:, 0]))
    return pairs


def strided_pairs(sites: Sites, kernel: Triple, stride: Triple, padding: Triple) -> tuple[Sites, Pairs]:
    """The sites of a strided convolution, all that an active one reaches, and its pairs."""
    shape = _strided_shape(sites.shape, kernel, stride, padding)
    steps, limits, pads = (sites.coordinates.new_tensor(values) for values in (stride, shape, padding))
    reached = []
    for cell in itertools.product(*map(range, kernel)):
        shifted = sites.coordinates[:, 1:] + pads - sites.coordinates.new_tensor(cell)
        place = torch.div(shifted, steps, rounding_mode="floor")
        fits = ((shifted % steps == 0) & (place >= 0) & (place < limits)).all(1)
        source = fits.nonzero()[:, 0]
        target = torch.cat([sites.coordinates[source, :1], place[source]], dim=1)
        reached.append((source, keys_of_places(target, shape)))
    keys = torch.cat([key for _, key in reached]).unique()
    pairs = [(source, torch.searchsorted(keys, key)) for source, key in reached]
    return Sites(places_of_keys(keys, shape), shape), pairs


def _strided_shape(shape: Triple, kernel: Triple, stride: Triple, padding: Triple) -> Triple:
    depth, rows, columns = (
        (side + 2 * pad - size) // step + 1
        for side, size, step, pad in zip(shape, kernel, stride, padding, strict=True)
    )
    return depth, rows, columns


class SparseConv(nn.Module):
    """A convolution at given sites without bias, a batch norm and a ReLU.

    `weight` is `K_z K_y K_x C C'`.
    """

    def __init__(self, in_channels: int, channels: int, kernel: Triple) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*kernel, in_channels, channels))
        self.norm = nn.BatchNorm1d(channels, eps=POINT_NORM_EPS, momentum=POINT_NORM_MOMENTUM)
        bound = (in_channels * kernel[0] * kernel[1] * kernel[2]) ** -0.5  # of torch's own convolutions
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, features: Tensor, pairs: Pairs, number: int) -> Tensor:
        """Features `V C` to `V' C'`, not negative; `number` is V'."""
        output = features.new_zeros(number, self.weight.shape[-1])
        for (source, target), matrix in zip(pairs, self.weight.flatten(0, 2), strict=True):
            output.index_add_(0, target, features[source] @ matrix)
        return F.relu(self.norm(output))


@dataclass(frozen=True)
class _Step:
    """One strided convolution and the submanifold convolutions behind it."""

    channels: int
    padding: Triple
    kernel: Triple = (3, 3, 3)
    stride: Triple = (2, 2, 2)
    same_site: int = 2


_FIRST_CHANNELS = 16
_STEPS = (
    _Step(32, (1, 1, 1)),
    _Step(64, (1, 1, 1)),
    _Step(64, (0, 1, 1)),
    _Step(128, (0, 0, 0), (3, 1, 1), (2, 1, 1), 0),
)


class SparseEncoder(nn.Module):
    """SECOND's middle encoder (Yan et al., Sensors 2018): voxels to a map at an eighth of the rows and columns.

    Args:
        in_channels: of the voxels.
        grid: voxels of the range; the convolutions' grid has one layer more along z.
    """

    def __init__(self, in_channels: int, grid: VoxelGrid) -> None:
        super().__init__()
        self.grid = grid
        self.shape = (grid.shape[0] + 1, grid.shape[1], grid.shape[2])
        layers = [
            SparseConv(in_channels, _FIRST_CHANNELS, (3, 3, 3)),
            SparseConv(_FIRST_CHANNELS, _FIRST_CHANNELS, (3, 3, 3)),
        ]
        channels, shape = _FIRST_CHANNELS, self.shape
        for step in _STEPS:
            layers.append(SparseConv(channels, step.channels, step.kernel))
            layers += [SparseConv(step.channels, step.channels, (3, 3, 3)) for _ in range(step.same_site)]
            channels, shape = step.channels, _strided_shape(shape, step.kernel, step.stride, step.padding)
        self.layers = nn.ModuleList(layers)
        self.out_channels = channels * shape[0]

    def voxelize(self, points: Sequence[Tensor]) -> tuple[list[Tensor], Voxels]:
        """The points `P_b 4` of each sample that are in range, and their voxels."""
        return voxelize(points, self.grid)

    def forward(self, features: Tensor, voxels: Voxels, batch: int) -> Tensor:
        """Voxels `V C` to maps `B C' H/8 W/8`.

        C' counts the channels first, then the layers along z within each.
        """
        assert voxels.coordinates is not None, "these voxels are those of pillars"
        sites = Sites(voxels.coordinates, self.shape)
        layers = iter(self.layers)
        pairs = same_site_pairs(sites)
        for _ in range(2):
            features = next(layers)(features, pairs, len(sites.coordinates))
        for step in _STEPS:
            sites, pairs = strided_pairs(sites, step.kernel, step.stride, step.padding)
            features = next(layers)(features, pairs, len(sites.coordinates))
            if step.same_site:
                pairs = same_site_pairs(sites)
            for _ in range(step.same_site):
                features = next(layers)(features, pairs, len(sites.coordinates))
        dense = features.new_zeros(batch, *sites.shape, features.shape[1])
        dense = dense.index_put(tuple(sites.coordinates.unbind(1)), features)
        return dense.permute(0, 4, 1, 2, 3).flatten(1, 2)
