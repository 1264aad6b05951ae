"""One view as a translator sees it, and what a data set of such views is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.translation.task import TranslationTask

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TranslationSample:
    """Encoded images of one view, all of one size.

    Args:
        name: unique within its split.
        inputs: one `3 H W` float32 in [-1, 1] per input domain, in the task's order.
        target: the same of the target domain.
        measured: `H W` bool: where the target is known. Losses and scores leave the other pixels out.
    """

    name: str
    inputs: tuple[Floats, ...]
    target: Floats
    measured: NDArray[np.bool_]

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Everything but the name, by name, for the fingerprint of a run's data."""
        named = {f"input_{index}": image for index, image in enumerate(self.inputs)}
        return {**named, "target": self.target, "measured": self.measured}


class TranslationDataset(Protocol):
    """Views in an order, with inputs and target of one task.

    An item is the view resized to the task's size and not varied.
    """

    @property
    def task(self) -> TranslationTask: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TranslationSample: ...

    def varied(self, index: int, rng: np.random.Generator) -> TranslationSample:
        """A random variation of the view for training, of the task's size; depends on nothing but both arguments."""
        ...
