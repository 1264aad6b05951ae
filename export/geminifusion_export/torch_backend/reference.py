"""The network in eager torch, in float32: the reference of every verification."""

from __future__ import annotations

from typing import Protocol, Self

import torch
from torch import Tensor

from geminifusion_runtime.backends.protocol import GraphInputs, GraphOutputs


class RawGraph(Protocol):
    """A task's graph in torch: raw inputs in order, outputs in order."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs, in the order of a call."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs, in the order in which they are returned."""

    def eval(self) -> Self:
        """The same, to infer with."""

    def __call__(self, *raw: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs."""


class TorchBackend:
    """A network in its inference form, in float32 on the CPU, with nothing done for speed."""

    name = "torch"

    def __init__(self, graph: RawGraph) -> None:
        self._graph = graph.eval()

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        names = self._graph.input_names
        with torch.inference_mode():
            outputs = [tensor.numpy() for tensor in self._graph(*(torch.tensor(inputs[name]) for name in names))]
        return dict(zip(self._graph.output_names, outputs, strict=True))
