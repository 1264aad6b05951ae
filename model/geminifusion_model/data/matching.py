"""A data set opened for a network: the same modalities in the same units, and classes matched by name.

What states its meaning is compared by its meaning: as many classes under other names, or in another order, would score
a network on the wrong ones without a word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import Dataset, DatasetError, Sample, labels_of

_LISTED = ("nyuv2-lists", "sunrgbd")  # layouts whose depth unit is written nowhere


class Modality(Protocol):
    """What a network takes of one modality: the encoding of a checkpoint, or the input of an artifact."""

    @property
    def name(self) -> str:
        """Of the modality."""

    @property
    def encoding(self) -> str:
        """A key of `ENCODING_UNITS`."""

    @property
    def unit(self) -> str:
        """Of the measurements."""

    @property
    def channels(self) -> int:
        """Of the measurements, 1 or 3."""

    @property
    def metres_per_unit(self) -> float | None:
        """Of stored numbers that are fed in metres."""


def open_matching(
    kind: str,
    root: Path,
    split: str,
    *,
    modalities: Sequence[Modality],
    class_names: Sequence[str],
    network: str,
    metres_per_unit: float | None = None,
    limit: int | None = None,
) -> Dataset:
    """One split for a network, its labels in the network's numbering.

    Args:
        kind, root, split, metres_per_unit, limit: as `open_dataset` takes them; the unit is that of the network if it
            has one.
        modalities: of the network, in its order.
        class_names: of the network.
        network: what the network is called, for messages.

    Raises:
        DatasetError: the data is not laid out as its kind says, has other units, or a class that the network lacks.
    """
    depth = next((m for m in modalities if m.name == "depth"), None)
    own = kind == "folder"  # its contract says all of it, and is compared below
    unit = depth.metres_per_unit if depth is not None and kind in _LISTED else None
    frames = open_dataset(
        kind,
        root,
        split,
        num_classes=None if own else len(class_names),
        modalities=tuple(m.name for m in modalities),
        encoding=None if depth is None or own else depth.encoding,
        metres_per_unit=metres_per_unit if unit is None else unit,
        limit=limit,
    )
    _check_units(frames, modalities, network)
    return with_classes(frames, class_names, network)


def with_classes(frames: Dataset, class_names: Sequence[str], network: str) -> Dataset:
    """The data set with its labels in the numbering of `class_names`; itself if that is its own.

    Raises:
        DatasetError: it has a class of another name.
    """
    own = frames.task.class_names
    if own == tuple(class_names):
        return frames
    if unknown := [name for name in own if name not in class_names]:
        known = [name for name in class_names if name not in own]
        raise DatasetError(
            f"{frames.task.data} has the classes {_listed(unknown)}, which {network} does not know"
            + (f"; its classes {_listed(known)} are not in the data" if known else "")
            + ". Classes are matched by name: give the data the network's names (classes in dataset.yaml, or "
            "labels.map to join several), or take data with the classes it was trained on"
        )
    return WithClasses(frames, tuple(class_names))


class WithClasses:
    """A data set whose labels are numbered like `class_names`, which hold all of its own."""

    def __init__(self, dataset: Dataset, class_names: tuple[str, ...]) -> None:
        own = dataset.task
        self.dataset = dataset
        colors = dict(zip(own.class_names, own.palette, strict=True))
        self.task = dataclasses.replace(
            own, class_names=class_names, palette=tuple(colors.get(name, (0, 0, 0)) for name in class_names)
        )
        self._numbers = np.full(256, own.ignore_index, np.uint8)
        self._numbers[: len(own.class_names)] = [class_names.index(name) for name in own.class_names]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return dataclasses.replace(sample, labels=self._numbers[sample.labels])

    def labels(self, index: int) -> NDArray[np.uint8]:
        """The labels of a frame alone."""
        return self._numbers[labels_of(self.dataset, index)]


def _check_units(frames: Dataset, modalities: Sequence[Modality], network: str) -> None:
    """Metres for metres, stored numbers for stored numbers: nothing in the numbers would show a mistake."""
    found = {modality.name: modality for modality in frames.task.modalities}
    for wanted in modalities:
        given = found[wanted.name]
        for field in ("unit", "channels"):
            has, takes = getattr(given, field), getattr(wanted, field)
            if has != takes:
                raise DatasetError(
                    f"{wanted.name} of {frames.task.data} is in {field} {has}, and {network} takes {takes}; give data "
                    "that is described as what it was trained on"
                )
        if "hha" in (given.encoding, wanted.encoding) and given.encoding != wanted.encoding:
            raise DatasetError(
                f"{wanted.name} of {frames.task.data} is encoded as {given.encoding}, and {network} takes "
                f"{wanted.encoding}; change the encoding in the contract"
            )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
