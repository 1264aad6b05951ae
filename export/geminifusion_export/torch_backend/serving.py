"""The network in torch, to serve with: inference form, channels last, half weights, CUDA graphs, two streams."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray

from geminifusion_export.torch_backend.inference_graph import InferenceGraph
from geminifusion_export.torch_backend.lane import Lane
from geminifusion_model.fusion_kernels.choice import use_fastest_fusion
from geminifusion_runtime.backends.protocol import GraphInputs, GraphOutputs, batch_shape, graph_outputs

# Frames of a part. A longer batch is cut, so that copies of one part overlap with the computation of another.
LARGEST_PART = 8
_LANES = 2

Part = tuple[NDArray[np.generic], ...]
_SUFFIXES = {torch.float32: "", torch.float16: "-float16", torch.bfloat16: "-bfloat16"}


class ServingBackend:
    """One network on one device.

    float32 is computed as float32: the tensor cores' rounding to 10 bits (TF32) is turned off, in the whole process.

    Args:
        threads: of torch on the CPU, in the whole process; None leaves them as they are.
        capture: run shapes that repeat as CUDA graphs.
    """

    def __init__(
        self, graph: InferenceGraph, *, device: torch.device, threads: int | None = None, capture: bool = True
    ) -> None:
        self.name = f"torch-{device.type}{_SUFFIXES[graph.dtype]}"
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        elif threads is not None:
            torch.set_num_threads(threads)
        self._output_names = graph.output_names
        use_fastest_fusion(graph.graph.network, device, graph.dtype, training=False)
        graph.to(device)
        self._lanes = [Lane(graph, device, capture=capture) for _ in range(_LANES)]

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        try:
            found = self._run_parts(inputs)
        except BaseException:
            for lane in self._lanes:
                lane.discard()
            raise
        whole = found[0] if len(found) == 1 else tuple(map(np.concatenate, zip(*found, strict=True)))
        return graph_outputs(self._output_names, whole)

    def _run_parts(self, inputs: GraphInputs) -> list[Part]:
        """The outputs of each part, in order; a lane gets its next part when its last one is back."""
        batch = batch_shape(inputs)[0]
        found: list[Part] = []
        submitted: deque[Lane] = deque()
        for index, start in enumerate(range(0, batch, LARGEST_PART)):
            lane = self._lanes[index % _LANES]
            if lane.is_busy:
                found.append(submitted.popleft().collect())
            lane.submit({name: array[start : start + LARGEST_PART] for name, array in inputs.items()})
            submitted.append(lane)
        return [*found, *(lane.collect() for lane in submitted)]

    def close(self) -> None:
        """Release the device's memory; `run` is not called again."""
        for lane in self._lanes:
            lane.close()
        self._lanes.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
