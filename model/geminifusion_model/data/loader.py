"""Batches of encoded samples, read ahead by threads (the codecs release the GIL).

Which frames a batch holds and how they are augmented depends on nothing but (seed, step), so training resumes exactly
from a step number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.data.augment import Augmentation, augment
from geminifusion_model.data.original_recipe import OriginalAugmentation
from geminifusion_model.data.sample import Dataset, Sample
from geminifusion_model.encoding import encode
from geminifusion_model.task import Task

_Item = TypeVar("_Item")
_FURTHER_SEED = 2**32  # added to the seed, so that no two runs with small seeds share an order


@dataclass(frozen=True)
class Batch:
    """Encoded inputs in the task's modality order (`B 3 H W` float32) and labels `B H W` int64."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def parts(self, count: int) -> list[Batch]:
        """The batch cut into `count` equal ones, of neighboring frames."""
        columns = [tensor.chunk(count) for tensor in (*self.inputs, self.labels)]
        return [Batch(tuple(row[:-1]), row[-1]) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Share:
    """The frames of a step that one of several processes takes.

    A step's frames are cut into `parts`, which run one after the other, and each part is shared among the processes.
    So in part p all processes together see the frames that a single process would see in its part p.
    """

    rank: int = 0
    processes: int = 1
    parts: int = 1

    def of(self, frames: list[_Item]) -> list[_Item]:
        """This process's share of `frames`, part after part; their number is a multiple of parts times processes."""
        size = len(frames) // (self.parts * self.processes)
        starts = range(self.rank * size, len(frames), self.processes * size)
        return [frame for start in starts for frame in frames[start : start + size]]


def stack_raw(samples: list[Sample], task: Task) -> tuple[Tensor, ...]:
    """Samples of one size as raw tensors in the task's modality order.

    `B H W 3` uint8 for the RGB; `B H W` or `B H W 3` float32 for the others.
    """
    arrays = (
        [sample.rgb if modality.name == "rgb" else sample.others[modality.name] for sample in samples]
        for modality in task.modalities
    )
    return tuple(torch.from_numpy(np.stack(stack)) for stack in arrays)


def collate(samples: list[Sample], task: Task, device: torch.device | None = None) -> Batch:
    """Stack samples of one size and encode them at that size (augmentation has already scaled them), on `device`."""
    raw = [values.to(device) for values in stack_raw(samples, task)]
    inputs = tuple(encode(values, how) for values, how in zip(raw, task.modalities, strict=True))
    labels = torch.from_numpy(np.stack([sample.labels for sample in samples])).to(device).to(torch.int64)
    return Batch(inputs, labels)


def frames_of_step(num_frames: int, batch_size: int, seed: int, step: int) -> list[tuple[int, int]]:
    """The (epoch, frame index) pairs of one step: every epoch visits each frame once, in its own order."""
    positions = range(step * batch_size, (step + 1) * batch_size)
    places = (divmod(position, num_frames) for position in positions)
    return [(epoch, int(_epoch_order(num_frames, seed, epoch)[place])) for epoch, place in places]


@dataclass(frozen=True, kw_only=True)
class FurtherFrames:
    """Frames of another data set that take `per_batch` places in every batch, in an order of their own."""

    dataset: Dataset
    per_batch: int


@lru_cache(maxsize=8)  # the threads that read ahead are in this epoch or the next
def _epoch_order(num_frames: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(num_frames)


def training_batches(
    dataset: Dataset,
    how: Augmentation | OriginalAugmentation,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    further: FurtherFrames | None = None,
    share: Share | None = None,
    device: torch.device | None = None,
    workers: int = 2,
) -> Iterator[Batch]:
    """The augmented batches of steps `first_step` up to, not including, `last_step`.

    Args:
        batch_size: of all frames, the further ones included.
        further: frames of another data set with the same task, at the end of each batch.
        share: this process's frames of each step; all if None.
        device: of the batches; the CPU if None.
        workers: threads that read ahead.
    """
    share = share or Share()

    own_places = batch_size - (further.per_batch if further is not None else 0)

    def load(step: int) -> list[Sample]:
        frames = [(dataset, (seed, *at)) for at in frames_of_step(len(dataset), own_places, seed, step)]
        if further is not None:
            own_seed = seed + _FURTHER_SEED
            places = frames_of_step(len(further.dataset), further.per_batch, own_seed, step)
            frames += [(further.dataset, (own_seed, *at)) for at in places]
        return [
            augment(source[at[-1]], how, np.random.default_rng(at), dataset.task.ignore_index, step)
            for source, at in share.of(frames)
        ]

    for samples in read_ahead(load, range(first_step, last_step), workers):
        yield collate(samples, dataset.task, device)


def read_ahead(load: Callable[[int], _Item], steps: Iterable[int], workers: int) -> Iterator[_Item]:
    """The results of `load` for each of `steps`, in their order, computed ahead by `workers` threads.

    `load` calls no torch operator: each thread that does gets a team of OpenMP threads of its own, and with more of
    them than cores the barriers of the training thread's team get slow (a third of a step on two cores).
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="loader") as pool:
        ahead: deque[Future[_Item]] = deque()
        for step in steps:
            ahead.append(pool.submit(load, step))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
