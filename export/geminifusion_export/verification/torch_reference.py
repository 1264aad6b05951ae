"""The torch network as the reference, and measuring an artifact's backends against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from geminifusion_export.errors import ExportError
from geminifusion_export.graph import TRACED_SHAPE, SegmentationGraph, frame_inputs, random_batch
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_export.verification.comparison import run_reference
from geminifusion_export.verification.measurement import Measurement
from geminifusion_model.checkpoint import read_info, weights_sha256
from geminifusion_model.data.nyuv2 import NYUv2
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.network import GeminiFusion
from geminifusion_runtime.artifact import require_segmentation
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


def measure_against_torch(measurement: Measurement, checkpoint: Path, data: Path | None, frames: int) -> list[str]:
    """Measure every candidate at `verified_shapes` and, with `data`, on the first test frames of NYUv2.

    Args:
        checkpoint: the one the artifact was made from.
        data: NYUv2 folder.
        frames: number of test frames of `data`.

    Returns:
        Remarks about the checkpoint, one sentence each.

    Raises:
        ExportError: the checkpoint is not the one the artifact was made from.
    """
    metadata = require_segmentation(measurement.metadata)
    found = weights_sha256(checkpoint)
    if found != metadata.checkpoint_sha256:
        raise ExportError(
            f"{checkpoint} has weights {found[:12]}…, the artifact was made from {metadata.checkpoint_sha256[:12]}…; "
            "give the checkpoint it was exported from"
        )
    info = read_info(checkpoint)
    assert info.task is not None  # an artifact cannot be made without one
    # The artifact's own temperature: another may have been fitted to the same weights since.
    graph = SegmentationGraph(GeminiFusion.from_pretrained(checkpoint), info.task, metadata.temperature or 1.0)
    expected = reference_batches(graph, verified_shapes(metadata.size.reference))
    measurement.measure_shapes("on random inputs, against torch", expected, traced=TRACED_SHAPE)
    if data is not None:
        on_frames = tuple(_test_frames(graph, data, frames))
        labels = ", ".join(candidate.label for candidate in measurement.candidates)
        measurement.measure(f"on {len(on_frames)} test frames, against torch ({labels})", [on_frames])
    fitted = Temperature.from_record(info.training)
    if fitted is None or fitted.value == metadata.temperature:
        return []
    served = "none" if metadata.temperature is None else f"{metadata.temperature:.3f}"
    return [
        f"the checkpoint has a temperature of {fitted.value:.3f} by now, the artifact {served}; export again to use it"
    ]


def _test_frames(graph: SegmentationGraph, data: Path, frames: int) -> Iterator[ReferenceBatch]:
    dataset = NYUv2(data, "test", num_classes=len(graph.task.class_names), limit=frames)
    reference = TorchBackend(graph)
    for index in range(len(dataset)):
        sample = dataset[index]
        inputs = frame_inputs(sample, graph.task)
        yield ReferenceBatch(inputs, reference.run(inputs), sample.labels[np.newaxis])
