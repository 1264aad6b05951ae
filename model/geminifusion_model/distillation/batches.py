"""Batches of crops and what the teacher says of them, which depend on nothing but (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.data.loader import frames_of_step, read_ahead
from geminifusion_model.distillation.config import DistillationConfig
from geminifusion_model.distillation.crops import Box, center_crop, cut_maps, random_crop
from geminifusion_model.distillation.images import Photographs
from geminifusion_model.distillation.teacher_maps import TeacherMaps


@dataclass(frozen=True)
class CropBatch:
    """Crops and what the teacher says of them.

    Args:
        rgb: `B side side 3` uint8.
        maps: for each matched stage `B C H W` float32, of the size of the student's map.
        logits: `B K` float32.
        folders: index of each photograph's folder, `B` int64; `NO_FOLDER` where there is none.
    """

    rgb: Tensor
    maps: tuple[Tensor, ...]
    logits: Tensor
    folders: Tensor


@dataclass(frozen=True)
class _Raw:
    indices: list[int]
    pixels: NDArray[np.uint8]
    boxes: list[Box]
    rows: NDArray[np.float16]


def held_out(count: int, holdout: int) -> list[int]:
    """Which of `count` photographs are kept apart: `holdout` of them, spread evenly over all sources and folders."""
    return sorted({int(index) for index in np.linspace(0, count - 1, holdout).round()})


class CropLoader:
    """Makes batches.

    Args:
        maps: of all photographs.
        device: where the batches are.
        workers: threads that read ahead.
    """

    def __init__(
        self,
        photographs: Photographs,
        maps: TeacherMaps,
        config: DistillationConfig,
        device: torch.device,
        workers: int = 2,
    ) -> None:
        self._photographs, self._maps, self._config = photographs, maps, config
        self._device, self._workers = device, workers

    def random(self, indices: Sequence[int], first_step: int) -> Iterator[CropBatch]:
        """The batches of steps `first_step` to the last; each epoch shows every photograph of `indices` once."""
        config = self._config

        def load(step: int) -> _Raw:
            chosen, crops = [], []
            for epoch, place in frames_of_step(len(indices), config.batch_size, config.seed, step):
                index = indices[place]
                rng = np.random.default_rng((config.seed, epoch, index))
                chosen.append(index)
                crops.append(random_crop(self._photographs.rgb(index), config.crop_of(step), config, rng))
            return self._raw(chosen, crops)

        for raw in read_ahead(load, range(first_step, config.steps), self._workers):
            yield self._batch(raw)

    def centers(self, indices: Sequence[int], side: int, batch_size: int) -> Iterator[CropBatch]:
        """The middles of some photographs, in order; the last batch may be smaller."""

        def load(start: int) -> _Raw:
            chosen = list(indices[start : start + batch_size])
            return self._raw(chosen, [center_crop(self._photographs.rgb(index), side) for index in chosen])

        for raw in read_ahead(load, range(0, len(indices), batch_size), workers=1):
            yield self._batch(raw)

    def _raw(self, indices: list[int], crops: list[tuple[NDArray[np.uint8], Box]]) -> _Raw:
        pixels = np.stack([pixels for pixels, _ in crops])
        return _Raw(indices, pixels, [box for _, box in crops], self._maps.rows(indices))

    def _batch(self, raw: _Raw) -> CropBatch:
        side = raw.pixels.shape[1]
        *maps, class_map = self._maps.split(raw.rows, self._device)
        cut = []
        for stage, found in zip(self._config.stages, maps, strict=True):
            length = -(-side // 2 ** (1 + stage))
            cut.append(cut_maps(found, raw.boxes, (length, length)))
        classes = cut_maps(class_map, raw.boxes, (class_map.shape[2], class_map.shape[3]))
        return CropBatch(
            rgb=torch.from_numpy(raw.pixels).to(self._device),
            maps=tuple(cut),
            logits=classes.mean((2, 3)),
            folders=torch.tensor([self._photographs.folders[index] for index in raw.indices], device=self._device),
        )
