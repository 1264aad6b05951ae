"""A data set whose metric depth is replaced by its HHA image; see `geminifusion_runtime.decoding.hha`."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.depth_encodings import hha_encoding
from geminifusion_model.data.sample import Dataset, Sample, labels_of
from geminifusion_model.task import Task
from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.decoding.hha import hha_from_depth

__all__ = ["Intrinsics", "WithHHA"]


class WithHHA:
    """A data set whose metric depth is replaced by its HHA image.

    Args:
        dataset: its modality `name` must be in metres.
        camera: the intrinsics of the depth images as stored.
        name: of the depth modality.

    Raises:
        ValueError: the data set has no such modality in metres.
    """

    def __init__(self, dataset: Dataset, camera: Intrinsics, name: str = "depth") -> None:
        encodings = {modality.name: modality for modality in dataset.task.modalities}
        if name not in encodings or encodings[name].unit != "metre":
            raise ValueError(f"{dataset.task.data} has no {name} in metres to compute HHA from")
        self.dataset, self.camera, self.name = dataset, camera, name
        self.task: Task = dataclasses.replace(
            dataset.task,
            modalities=tuple(hha_encoding(name) if m.name == name else m for m in dataset.task.modalities),
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def labels(self, index: int) -> NDArray[np.uint8]:
        """The labels of a frame alone."""
        return labels_of(self.dataset, index)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        hha = hha_from_depth(sample.others[self.name], self.camera)
        return dataclasses.replace(sample, others={**sample.others, self.name: hha})
