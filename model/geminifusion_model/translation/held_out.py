"""The views of a run: those trained on, those held out, their record, and how near a generator comes to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.translation.dataset import TranslationFrames, TranslationSample, collate_views
from geminifusion_model.translation.domains import to_bytes
from geminifusion_model.translation.generator import Generator, streams_of
from geminifusion_model.translation.losses import reconstruction_loss
from geminifusion_model.translation.task import TranslationTask


class Selected:
    """Some of the samples of a data set, by index. Implements `TranslationFrames`."""

    def __init__(self, frames: TranslationFrames, indices: Sequence[int]) -> None:
        self.frames, self.indices = frames, indices
        self.inputs, self.target = frames.inputs, frames.target

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> TranslationSample:
        return self.frames[self.indices[index]]

    def variation(self, index: int, *, seed: int, epoch: int) -> TranslationSample:
        """A random variant for training."""
        return self.frames.variation(self.indices[index], seed=seed, epoch=epoch)


@dataclass(frozen=True)
class RecordedView:
    """A sample as the record of a run fingerprints it."""

    sample: TranslationSample

    @property
    def name(self) -> str:
        """Unique within the data set."""
        return self.sample.name

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Images and masks by name."""
        inputs = {f"input {index}": image for index, image in enumerate(self.sample.inputs)}
        return {**inputs, "target": self.sample.target, "counted": self.sample.counted}


@dataclass(frozen=True)
class RecordedViews:
    """The data of a run, in order, as its record fingerprints it."""

    frames: TranslationFrames
    task: TranslationTask

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> RecordedView:
        return RecordedView(self.frames[index])


@dataclass
class HeldOutErrors:
    """Mean absolute differences from the target in [-1, 1], over all pixels that count, by output.

    Outputs are named as in a step's report; `views` were compared.
    """

    views: int = 0
    _sums: dict[str, float] = field(default_factory=dict)
    _counted: float = 0.0

    def add(self, sums: Mapping[str, float], counted: float) -> None:
        """Take one view into account: the sum of differences of each output, and the number of pixels."""
        self.views += 1
        self._counted += counted
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    @property
    def outputs(self) -> dict[str, float]:
        """The error of each output."""
        return {name: value / max(self._counted, 1.0) for name, value in self._sums.items()}

    @property
    def error(self) -> float:
        """That of the image that is kept: the ensemble of two streams."""
        return self.outputs.get("ensemble", self.outputs["0"])

    def scalars(self) -> dict[str, float]:
        """By name, for the run's log."""
        return {"mae": self.error, **{f"mae_{name}": value for name, value in self.outputs.items()}}


@torch.no_grad()
def compare(net: Generator, sample: TranslationSample, errors: HeldOutErrors) -> Tensor:
    """Translate one view, and add its errors.

    Returns:
        The image that is kept, `3 H W` in [-1, 1].
    """
    batch = collate_views([sample], next(net.parameters()).device)
    prediction = net(*batch.inputs)
    sums = {
        name: reconstruction_loss(image, batch.target, batch.counted).item() for name, image in streams_of(prediction)
    }
    errors.add(sums, batch.counted.sum().item())
    kept: Tensor = prediction.ensemble[0].cpu()
    return kept


def preview(sample: TranslationSample, image: Tensor) -> NDArray[np.uint8]:
    """Inputs, target and what was made of it side by side, `H W 3` uint8."""
    shown = [*(torch.from_numpy(each) for each in (*sample.inputs, sample.target)), image]
    return np.concatenate([to_bytes(each).permute(1, 2, 0).numpy() for each in shown], axis=1)
