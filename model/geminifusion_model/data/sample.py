"""One aligned, labeled frame, in the units the sensors give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.task import Task


@dataclass(frozen=True)
class Sample:
    """A frame before encoding.

    Args:
        name: unique within its split.
        rgb: `H W 3` uint8.
        others: further modalities by name, float32: `depth` is `H W` metres, 0 = no measurement; images of other
            sensors (and depth in an unknown unit, or as HHA) are the stored values, `H W` or `H W 3`.
        labels: `H W` uint8 class indices with the task's ignore value.
    """

    name: str
    rgb: NDArray[np.uint8]
    others: Mapping[str, NDArray[np.float32]]
    labels: NDArray[np.uint8]

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The images and labels by name."""
        return {"rgb": self.rgb, **self.others, "labels": self.labels}


class Dataset(Protocol):
    """A list of samples that belong to one task."""

    task: Task

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def labels_of(dataset: Dataset, index: int) -> NDArray[np.uint8]:
    """The labels of a frame; its images are not read where a data set can do without."""
    alone = getattr(dataset, "labels", None)
    return alone(index) if callable(alone) else dataset[index].labels


class Subset:
    """A data set of some frames of another, by index."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices, self.task = dataset, indices, dataset.task

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]

    def labels(self, index: int) -> NDArray[np.uint8]:
        """The labels of a frame alone."""
        return labels_of(self.dataset, self.indices[index])


class Joined:
    """The frames of one data set, then those of another with the same task.

    Raises:
        DatasetError: classes or encodings differ.
    """

    def __init__(self, first: Dataset, second: Dataset) -> None:
        for what, ours, theirs in (
            ("classes", first.task.class_names, second.task.class_names),
            ("modalities", first.task.modalities, second.task.modalities),
        ):
            if ours != theirs:
                raise DatasetError(
                    f"the {what} of {second.task.data} are not those of {first.task.data}: {theirs} instead of {ours}; "
                    "give both the same, in the same order"
                )
        self.first, self.second, self.task = first, second, first.task

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> Sample:
        dataset, own = self._place(index)
        return dataset[own]

    def labels(self, index: int) -> NDArray[np.uint8]:
        """The labels of a frame alone."""
        return labels_of(*self._place(index))

    def _place(self, index: int) -> tuple[Dataset, int]:
        if index < len(self.first):
            return self.first, index
        return self.second, index - len(self.first)


class DatasetError(ValueError):
    """The files are not laid out as the reader expects; the message says where and what to do."""
