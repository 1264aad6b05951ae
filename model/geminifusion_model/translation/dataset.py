"""What training and evaluation read: input images and a target, all `3 H W` in [-1, 1], of one size.

Which views a step holds and how they are varied depends on nothing but (seed, step), as in `data.loader`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.data.loader import Share, frames_of_step, read_ahead
from geminifusion_model.data.registry import kind_of, open_dataset, usual_split
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.translation.aligned_folder import aligned_folder, is_aligned_folder, splits_of_folder
from geminifusion_model.translation.domains import FRAME_DOMAINS, TASKONOMY_DOMAINS, Domain, check_names, find
from geminifusion_model.translation.frame_views import FrameViews, camera_of_dataset
from geminifusion_model.translation.layouts import ALIGNED, LAYOUTS, TASKONOMY
from geminifusion_model.translation.taskonomy import SPLITS, is_taskonomy, taskonomy
from geminifusion_model.translation.transforms import (
    TranslationAugmentation,
    check_size,
    draw_place,
    varied,
)
from geminifusion_model.translation.views import Views

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TranslationSample:
    """One view as a network sees it.

    Args:
        name: unique within its split.
        inputs: `3 H W` float32 in [-1, 1] each, in the order of the domains.
        target: `3 H W` float32 in [-1, 1].
        counted: `H W` bool, the target's pixels that count in losses and scores.
        measured: `H W` bool, the target's pixels that have a value in its unit.
    """

    name: str
    inputs: tuple[Floats, ...]
    target: Floats
    counted: NDArray[np.bool_]
    measured: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TranslationBatch:
    """Samples of one size, stacked: `B 3 H W` float32 each, `B H W` bool for the masks."""

    inputs: tuple[Tensor, ...]
    target: Tensor
    counted: Tensor
    measured: Tensor

    def to(self, device: torch.device) -> TranslationBatch:
        """The same batch on this device."""
        return TranslationBatch(
            tuple(image.to(device) for image in self.inputs),
            self.target.to(device),
            self.counted.to(device),
            self.measured.to(device),
        )


class TranslationFrames(Protocol):
    """Samples of one pair of inputs and target."""

    inputs: tuple[Domain, ...]
    target: Domain

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TranslationSample: ...

    def variation(self, index: int, *, seed: int, epoch: int) -> TranslationSample:
        """A random variant for training, the same for the same arguments."""
        ...


class TranslationDataset:
    """Views with their images picked, resized and varied. Implements `TranslationFrames`.

    Args:
        views: where the images come from.
        inputs, target: names of their domains.
        size: height and width, multiples of 32.
        augmentation: of `variation`; none leaves it resized alone.

    Raises:
        DomainError: the views have no such domain, a domain is named twice, or the size does not suit a network.
    """

    def __init__(
        self,
        views: Views,
        *,
        inputs: Sequence[str],
        target: str,
        size: tuple[int, int],
        augmentation: TranslationAugmentation | None = None,
    ) -> None:
        check_names(inputs, target)
        check_size(size)
        *first, last = find(views.domains, (*inputs, target), views.data)
        self.inputs: tuple[Domain, ...] = tuple(first)
        self.target: Domain = last
        self.views, self.size, self.augmentation = views, size, augmentation

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> TranslationSample:
        """The view at the size of the network, resized alone.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        return self._sample(index, None)

    def variation(self, index: int, *, seed: int, epoch: int) -> TranslationSample:
        """The view as the epoch of a training run with this seed sees it.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        return self._sample(index, np.random.default_rng((seed, epoch, index)))

    def _sample(self, index: int, rng: np.random.Generator | None) -> TranslationSample:
        names = [domain.name for domain in (*self.inputs, self.target)]
        view = self.views.read(index, names)
        how = self.augmentation if rng is not None else None
        place = draw_place(self.size, how, rng) if how is not None and rng is not None else None
        domains = {domain.name: domain for domain in (*self.inputs, self.target)}
        images, masks = varied(
            view.images, view.measured, domains, self.size, how, place, mix_unmeasured=self.views.counts_unmeasured
        )
        *inputs, target = (_three_channels(images[name]) for name in names)
        measured = masks[self.target.name]
        counted = np.ones_like(measured) if self.views.counts_unmeasured else measured
        return TranslationSample(view.name, tuple(inputs), target, counted, measured)


def layout_of(root: Path | str, given: str | None = None) -> str:
    """The layout of `root`, one of `LAYOUTS`: the given one, or what its files look like.

    Raises:
        DatasetError: they look like none.
    """
    root = Path(root)
    if given is not None:
        return given
    if is_aligned_folder(root):
        return ALIGNED
    if is_taskonomy(root):
        return TASKONOMY
    try:
        return kind_of(root)
    except DatasetError:
        raise DatasetError(
            f"{root} holds neither aligned images (train/rgb/, train/depth/, …), nor Taskonomy's files, nor RGB-D "
            f"frames of a known layout; docs/guides/translation.md describes them, and --dataset names one: "
            f"{', '.join(LAYOUTS)}"
        ) from None


def usual_translation_split(layout: str, root: Path | str) -> str:
    """The split to score: `test`, or the last one of a folder that has none of that name.

    Raises:
        LayoutError: a folder's contract cannot be read.
    """
    if layout == TASKONOMY:
        return SPLITS[-1]
    if layout != ALIGNED:
        return usual_split(layout, root)
    names = splits_of_folder(Path(root))
    return "test" if "test" in names or not names else names[-1]


def domains_of_layout(layout: str) -> Mapping[str, Domain]:
    """The domains that data of this layout may have, by name."""
    return TASKONOMY_DOMAINS if layout == TASKONOMY else FRAME_DOMAINS


def open_views(
    layout: str,
    root: Path | str,
    split: str,
    needed: Sequence[str],
    *,
    metres_per_unit: float | None = None,
    limit: int | None = None,
) -> Views:
    """One split of aligned images.

    Args:
        layout: one of `LAYOUTS`.
        needed: names of the domains that will be read.
        metres_per_unit: as `open_dataset` takes it.
        limit: only the first views.

    Raises:
        DomainError: the layout has no such domain.
        LayoutError: the files are not as the layout says; it names every problem.
        DatasetError: the depth is in no known unit.
    """
    find(domains_of_layout(layout), needed, f"data of the layout {layout}")
    root = Path(root)
    if layout == ALIGNED:
        return aligned_folder(root, split, needed, limit=limit)
    if layout == TASKONOMY:
        return taskonomy(root, split, needed, limit=limit)
    has_depth = any(name not in ("rgb", "edge_texture") for name in needed)
    frames = open_dataset(
        layout,
        root,
        split,
        modalities=("rgb", "depth") if has_depth else ("rgb",),
        metres_per_unit=metres_per_unit,
        limit=limit,
    )
    return FrameViews(frames, camera_of_dataset(layout, root))


def translation_batches(
    dataset: TranslationFrames,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    share: Share | None = None,
    device: torch.device | None = None,
    workers: int = 2,
) -> Iterator[TranslationBatch]:
    """The varied batches of steps `first_step` up to, not including, `last_step`; arguments as `training_batches`."""
    own = share or Share()

    def load(step: int) -> list[TranslationSample]:
        places = frames_of_step(len(dataset), batch_size, seed, step)
        return [dataset.variation(index, seed=seed, epoch=epoch) for epoch, index in own.of(places)]

    for samples in read_ahead(load, range(first_step, last_step), workers):
        yield collate_views(samples, device)


def collate_views(samples: Sequence[TranslationSample], device: torch.device | None = None) -> TranslationBatch:
    """Stack samples of one size."""
    batch = TranslationBatch(
        tuple(_stacked(images) for images in zip(*(sample.inputs for sample in samples), strict=True)),
        _stacked([sample.target for sample in samples]),
        _stacked([sample.counted for sample in samples]),
        _stacked([sample.measured for sample in samples]),
    )
    return batch if device is None else batch.to(device)


def _stacked(arrays: Sequence[NDArray[np.generic]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _three_channels(image: Floats) -> Floats:
    """`3 H W` of `H W` or `H W 3`."""
    wide = image.transpose(2, 0, 1) if image.ndim == 3 else np.broadcast_to(image, (3, *image.shape))
    return np.ascontiguousarray(wide.clip(-1.0, 1.0), np.float32)  # averages round
