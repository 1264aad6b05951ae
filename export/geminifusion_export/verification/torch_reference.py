"""The torch network as the reference of an artifact's backends; that of segmentation, and what all tasks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from geminifusion_export.errors import ExportError, VerificationError
from geminifusion_export.graph import TRACED_SHAPE, SegmentationGraph, frame_inputs, random_batch
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_export.verification.comparison import run_reference
from geminifusion_model.checkpoint import read_info, weights_sha256
from geminifusion_model.data.nyuv2 import NYUv2
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.network import GeminiFusion
from geminifusion_runtime.artifact import ArtifactMetadata, require_segmentation
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.golden_set import ReferenceBatch


def verified_shapes(reference: tuple[int, int]) -> tuple[BatchShape, ...]:
    """The shapes a graph is verified at: the traced one, others, and one frame of the reference size.

    The others are odd and not divisible by 32 on purpose: a size that the trace made a constant shows at once. For the
    reference size, height and width, the service prepares its backends.
    """
    return (TRACED_SHAPE, (1, 96, 128), (3, 70, 91), (1, 133, 101), (1, *reference))


def reference_batches(graph: SegmentationGraph, shapes: Iterable[BatchShape]) -> tuple[ReferenceBatch, ...]:
    """Torch's outputs for random inputs, one batch of each shape."""
    inputs = [random_batch(graph.task, shape, seed=index) for index, shape in enumerate(shapes)]
    return run_reference(TorchBackend(graph), inputs)


def check_weights(checkpoint: Path, metadata: ArtifactMetadata) -> None:
    """Check that an artifact was made from a checkpoint.

    Raises:
        ExportError: it was made from another one.
    """
    found = weights_sha256(checkpoint)
    if found != metadata.checkpoint_sha256:
        raise ExportError(
            f"{checkpoint} has weights {found[:12]}…, the artifact was made from {metadata.checkpoint_sha256[:12]}…; "
            "give the checkpoint it was exported from"
        )


def no_data_for(metadata: ArtifactMetadata) -> VerificationError:
    """The error for frames that a task's networks are not compared on."""
    return VerificationError(
        f"--data compares labels on frames of NYUv2, and {metadata.reference} is for {metadata.task}; leave it out"
    )


class SegmentationNetwork:
    """See `TorchNetwork`.

    Args:
        checkpoint: the one the artifact was made from.

    Raises:
        ExportError: it is not.
    """

    def __init__(self, checkpoint: Path, metadata: ArtifactMetadata) -> None:
        check_weights(checkpoint, metadata)
        self._metadata = require_segmentation(metadata)
        self._info = read_info(checkpoint)
        assert self._info.task is not None  # an artifact cannot be made without one
        # The artifact's own temperature: another may have been fitted to the same weights since.
        temperature = self._metadata.temperature or 1.0
        self._graph = SegmentationGraph(GeminiFusion.from_pretrained(checkpoint), self._info.task, temperature)

    def references(self) -> tuple[Sequence[ReferenceBatch], BatchShape]:
        """Of `verified_shapes`."""
        return reference_batches(self._graph, verified_shapes(self._metadata.size.reference)), TRACED_SHAPE

    def on_data(self, data: Path, frames: int) -> Sequence[ReferenceBatch]:
        """Of the first test frames of NYUv2, with their labels."""
        dataset = NYUv2(data, "test", num_classes=len(self._graph.task.class_names), limit=frames)
        reference = TorchBackend(self._graph)
        found = []
        for index in range(len(dataset)):
            sample = dataset[index]
            inputs = frame_inputs(sample, self._graph.task)
            found.append(ReferenceBatch(inputs, reference.run(inputs), sample.labels[np.newaxis]))
        return found

    @property
    def remarks(self) -> list[str]:
        """Of a temperature that was fitted since."""
        fitted = Temperature.from_record(self._info.training)
        served = self._metadata.temperature
        if fitted is None or fitted.value == served:
            return []
        in_artifact = "none" if served is None else f"{served:.3f}"
        return [
            f"the checkpoint has a temperature of {fitted.value:.3f} by now, the artifact {in_artifact}; export again "
            "to use it"
        ]
