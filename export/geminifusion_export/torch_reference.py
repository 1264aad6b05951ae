"""The torch network as a runtime: what every other one is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from geminifusion_export.graph import TRACED_SHAPE, SegmentationGraph, example_inputs
from geminifusion_export.runtimes import Answers
from geminifusion_export.verification.comparison import Expected, Feeds, Shape, expect
from geminifusion_model.task import Task
from geminifusion_runtime.artifact import Precision

# Untraced, odd and not divisible by 32 on purpose: a size baked into the graph shows at once.
VERIFIED_SHAPES: tuple[Shape, ...] = (
    TRACED_SHAPE,
    (1, 96, 128),
    (3, 70, 91),
    (1, 133, 101),
    (1, 480, 640),
)


class TorchReference:
    """The inference form in eager torch, float32."""

    name = "torch"
    precision: Precision = "float32"

    def __init__(self, graph: SegmentationGraph) -> None:
        self._graph = graph
        self._names = [modality.name for modality in graph.task.modalities]

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Answers:
        """Run one batch; see `Runtime`."""
        with torch.inference_mode():
            labels, confidence, gate = self._graph(*(torch.from_numpy(feeds[name]) for name in self._names))
        return Answers(labels.numpy(), confidence.numpy(), gate.numpy())


def random_feeds(task: Task, shape: Shape, seed: int = 0) -> Feeds:
    """`example_inputs` by graph input name."""
    tensors = example_inputs(task, *shape, seed=seed)
    return {modality.name: tensor.numpy() for modality, tensor in zip(task.modalities, tensors, strict=True)}


def expected_at(graph: SegmentationGraph, shapes: Iterable[Shape] = VERIFIED_SHAPES) -> tuple[Expected, ...]:
    """Torch's answers to random inputs, one batch of each shape."""
    feeds = [random_feeds(graph.task, shape, seed=index) for index, shape in enumerate(shapes)]
    return expect(TorchReference(graph), feeds)
