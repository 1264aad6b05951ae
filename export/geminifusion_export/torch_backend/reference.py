"""The network in eager torch, in float32: the reference of every verification."""

from __future__ import annotations

import torch

from geminifusion_export.graph import SegmentationGraph
from geminifusion_runtime.backends.protocol import GraphInputs, GraphOutputs


class TorchBackend:
    """A network in its inference form, in float32 on the CPU, with nothing done for speed."""

    name = "torch"

    def __init__(self, graph: SegmentationGraph) -> None:
        self._graph = graph.eval()

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        names = [modality.name for modality in self._graph.task.modalities]
        with torch.inference_mode():
            outputs = [tensor.numpy() for tensor in self._graph(*(torch.tensor(inputs[name]) for name in names))]
        return dict(zip(self._graph.output_names, outputs, strict=True))
