"""What tasks on images of a model's modalities have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.dummy_inputs import blank_inputs, random_inputs
from geminifusion_runtime.errors import UnprocessableError
from geminifusion_runtime.golden_set import read_golden_set
from geminifusion_runtime.option_types import ImageOptions, ModalityOptions, modality_options
from geminifusion_runtime.preprocessing import PreparedItem
from geminifusion_runtime.tasks.base import Frame, GoldenFrame, SizeProblem, TaskRuntime
from geminifusion_runtime.tasks.parts import PartSpec

OptionsT = TypeVar("OptionsT", bound=ImageOptions)
PredictionT = TypeVar("PredictionT")


class ImageTask(TaskRuntime[OptionsT, PreparedItem, PredictionT]):
    """A task whose requests carry an image of each modality, and whose batches are images of one size.

    Attributes:
        compared_output: the graph's output that a self-test compares; predictions and results have it by that name.
    """

    compared_output: str

    def __init__(self, metadata: ArtifactMetadata) -> None:
        self.metadata = metadata

    @property
    def parts(self) -> tuple[ModalitySpec, ...]:
        """The modalities."""
        return self.metadata.modalities

    def part_options(self, options: OptionsT, spec: PartSpec) -> ModalityOptions:
        """See `modality_options`."""
        assert isinstance(spec, ModalitySpec), "these tasks have no other parts"
        return modality_options(options, spec)

    def blank_item(self, height: int, width: int, *, size_problem: SizeProblem) -> PreparedItem:
        """See `TaskRuntime`."""
        batch = blank_inputs(self.metadata.modalities, (1, height, width))
        return self.item({name: array[0] for name, array in batch.items()}, size_problem=size_problem)

    def random_items(self, shape: BatchShape, seed: int = 0) -> list[PreparedItem]:
        """See `TaskRuntime`."""
        batch = random_inputs(self.metadata.modalities, shape, seed)
        return [
            self.item({name: array[index] for name, array in batch.items()}, size_problem=lambda _height, _width: None)
            for index in range(shape[0])
        ]

    def stack(self, items: Sequence[PreparedItem]) -> dict[str, NDArray[np.generic]]:
        """See `TaskRuntime`."""
        if len({item.shape for item in items}) != 1:
            raise ValueError(f"a batch needs items of one shape, got {[item.shape for item in items]}")
        names = [spec.name for spec in self.metadata.modalities]
        if len(items) == 1:  # a view, where stacking would copy
            return {name: items[0].inputs[name][None] for name in names}
        return {name: np.stack([item.inputs[name] for item in items]) for name in names}

    def golden_frames(self, directory: Path, *, size_problem: SizeProblem) -> list[GoldenFrame]:
        """See `TaskRuntime`."""
        batches = read_golden_set(directory, self.metadata)
        if not batches:
            return []
        first = {name: array[0] for name, array in batches[0].inputs.items()}
        try:
            shape = self.item(first, size_problem=size_problem).shape
        except UnprocessableError:
            return []
        if shape != batches[0].shape[1:]:  # reduced or padded, so that the outputs are others
            return []
        return [
            GoldenFrame(
                {name: array[0] for name, array in batch.inputs.items()}, batch.outputs[self.compared_output][0]
            )
            for batch in batches
        ]

    def own_frame(self) -> Frame:
        """See `TaskRuntime`."""
        inputs = random_inputs(self.metadata.modalities, (1, *self.metadata.size.reference))
        return {name: array[0] for name, array in inputs.items()}

    def observed(self, answer: Any) -> NDArray[np.generic]:  # noqa: ANN401 - see `TaskRuntime`
        """See `TaskRuntime`."""
        found: NDArray[np.generic] = getattr(answer, self.compared_output)
        return found


def arrays_of(decoded: Mapping[str, Any]) -> dict[str, NDArray[np.generic]]:
    """The arrays of decoded parts, by name."""
    return {name: part.array for name, part in decoded.items()}
