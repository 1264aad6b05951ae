"""Crops of photographs, of one size whatever the size of the photograph, and the same parts of a teacher's maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.data.augment import jitter
from geminifusion_model.distillation.config import DistillationConfig

_ASPECT = 4 / 3  # of a crop's sides, at most, either way
_SAMPLES = 2  # along each side of a cell


@dataclass(frozen=True)
class Box:
    """Which part of a photograph a crop shows: edges from 0 to 1, and whether left and right are swapped."""

    top: float
    bottom: float
    left: float
    right: float
    mirrored: bool = False


def random_crop(
    rgb: NDArray[np.uint8], side: int, config: DistillationConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Box]:
    """A random part of `H W 3`, resized to `side side 3`, mirrored and recolored at random, and which part it is.

    Area and aspect are drawn as in Szegedy et al., arXiv:1409.4842; a part that would not fit is cut to the
    photograph. What is drawn does not depend on `side`.
    """
    height, width = rgb.shape[:2]
    area = height * width * rng.uniform(*config.crop_area)
    aspect = math.exp(rng.uniform(-1, 1) * math.log(_ASPECT))
    rows = min(max(round(math.sqrt(area / aspect)), 1), height)
    columns = min(max(round(math.sqrt(area * aspect)), 1), width)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    mirrored = bool(rng.random() < config.flip)
    part, box = _cut(rgb, (top, left, rows, columns), side, mirrored)
    return jitter(part, config.color, rng), box


def center_crop(rgb: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], Box]:
    """The largest square in the middle of `H W 3`, resized to `side side 3`, and which part it is."""
    height, width = rgb.shape[:2]
    length = min(height, width)
    return _cut(rgb, ((height - length) // 2, (width - length) // 2, length, length), side, mirrored=False)


def cut_maps(maps: Tensor, boxes: Sequence[Box], size: tuple[int, int]) -> Tensor:
    """What maps of whole photographs show of each photograph's box.

    Each cell is the mean of bilinear samples spread evenly over it (RoIAlign, arXiv:1703.06870, sec. 3).

    Args:
        maps: `B C H W` float, of the whole photographs.
        boxes: one for each.
        size: height and width of the result.

    Returns:
        `B C *size`.
    """
    rows = _weights([(box.top, box.bottom) for box in boxes], maps.shape[2], size[0]).to(maps.device)
    sides = [(box.right, box.left) if box.mirrored else (box.left, box.right) for box in boxes]
    columns = _weights(sides, maps.shape[3], size[1]).to(maps.device)
    narrowed = maps.flatten(1, 2) @ columns.mT  # two small products: a grid of samples costs ten times as much
    return rows[:, None] @ narrowed.unflatten(1, maps.shape[1:3])


def _weights(edges: Sequence[tuple[float, float]], length: int, count: int) -> Tensor:
    """What each of `count` cells between two edges takes of each of `length` pixels, `B count length`."""
    begin, end = torch.tensor(edges, dtype=torch.float32).T[..., None]
    places = (torch.arange(count * _SAMPLES) + 0.5) / (count * _SAMPLES)
    # in pixels from the middle of the first; beyond the middles of the outermost, these are all there is
    positions = ((begin + (end - begin) * places) * length - 0.5).clamp(0, length - 1)
    shares = (1 - (positions[..., None] - torch.arange(length)).abs()).clamp_min(0)
    return shares.unflatten(1, (count, _SAMPLES)).mean(2)


def squeezed(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The whole of `H W 3` as `side side 3`, whatever its aspect."""
    # the mean over areas is what keeps fine texture from becoming noise, but it only makes sense to shrink with
    shrinks = rgb.shape[0] > side and rgb.shape[1] > side
    resized = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)


def _cut(
    rgb: NDArray[np.uint8], part: tuple[int, int, int, int], side: int, mirrored: bool
) -> tuple[NDArray[np.uint8], Box]:
    height, width = rgb.shape[:2]
    top, left, rows, columns = part
    pixels = squeezed(rgb[top : top + rows, left : left + columns], side)
    box = Box(top / height, (top + rows) / height, left / width, (left + columns) / width, mirrored)
    return (np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels), box
