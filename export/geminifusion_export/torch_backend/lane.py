"""One batch at a time on one device: staging memory, a stream, and a CUDA graph for every shape that repeats.

Two lanes overlap: while one computes, the other copies. On a CPU a lane has no stream, no pinned memory and no graph,
and otherwise runs the same code.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_export.errors import first_line
from geminifusion_export.torch_backend.inference_graph import InferenceGraph
from geminifusion_runtime.backends.protocol import BatchShape, GraphInputs, batch_shape

# Each holds staging memory and a graph. A camera has one size; with many sizes, more would not help.
SHAPES_KEPT = 8

_log = logging.getLogger(__name__)


@dataclass
class _Shape:
    """Memory of one batch shape; a CUDA graph holds the addresses on the device."""

    staged: tuple[Tensor, ...]  # inputs on the host, pinned beside a GPU
    inputs: tuple[Tensor, ...]  # on the device; on a CPU the staged ones themselves
    outputs: tuple[Tensor, ...] = ()  # on the device
    fetched: tuple[Tensor, ...] = ()  # on the host
    graph: torch.cuda.CUDAGraph | None = None
    can_capture: bool = True
    has_run: bool = False


class Lane:
    """Runs batches one after the other; `submit` returns before the device is done, `collect` waits.

    Args:
        capture: make CUDA graphs; without them every kernel is launched by the host.
    """

    def __init__(self, graph: InferenceGraph, device: torch.device, *, capture: bool = True) -> None:
        self._graph, self._device = graph, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._done = torch.cuda.Event(blocking=True) if self._stream is not None else None
        self._pool = torch.cuda.graph_pool_handle() if self._stream is not None and capture else None
        self._shapes: OrderedDict[BatchShape, _Shape] = OrderedDict()
        self._submitted: _Shape | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a submitted batch has not been collected."""
        return self._submitted is not None

    @property
    def num_captured(self) -> int:
        """Shapes that run as a CUDA graph."""
        return sum(shape.graph is not None for shape in self._shapes.values())

    def submit(self, inputs: GraphInputs) -> None:
        """Copy a batch and start it.

        Raises:
            TypeError, ValueError: a modality is of another type or shape than the graph takes.
        """
        assert not self.is_busy, "collect the batch before"
        shape = self._shape_of(inputs)
        with torch.inference_mode(), self._on_stream():
            for name, staged, on_device in zip(self._graph.input_types, shape.staged, shape.inputs, strict=True):
                np.copyto(staged.numpy(), inputs[name], casting="no")
                if on_device is not staged:
                    on_device.copy_(staged, non_blocking=True)
            self._compute(shape)
            self._fetch(shape)
        self._submitted = shape

    def collect(self) -> tuple[NDArray[np.generic], ...]:
        """Wait for the submitted batch; its outputs, which belong to the caller."""
        shape, self._submitted = self._submitted, None
        assert shape is not None, "submit a batch first"
        if self._done is None:
            return tuple(tensor.numpy() for tensor in shape.outputs)
        self._done.synchronize()
        return tuple(tensor.numpy().copy() for tensor in shape.fetched)

    def discard(self) -> None:
        """Wait for a submitted batch whose outputs nobody wants any more, because another part of it failed."""
        if self.is_busy and self._done is not None:
            self._done.synchronize()
        self._submitted = None

    def close(self) -> None:
        """Release graphs and memory; the lane is not used again."""
        if self._stream is not None:
            self._stream.synchronize()
        self._submitted = None
        self._shapes.clear()

    def _on_stream(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _shape_of(self, inputs: GraphInputs) -> _Shape:
        """The memory for a batch of this shape, made if it is new; the one unused for longest makes room."""
        key = batch_shape(inputs)
        if key not in self._shapes:
            while len(self._shapes) >= SHAPES_KEPT:
                self._shapes.popitem(last=False)
            self._shapes[key] = self._new_shape(inputs)
        self._shapes.move_to_end(key)
        return self._shapes[key]

    def _new_shape(self, inputs: GraphInputs) -> _Shape:
        on_gpu = self._stream is not None
        staged = tuple(
            torch.empty(inputs[name].shape, dtype=dtype, pin_memory=on_gpu)
            for name, dtype in self._graph.input_types.items()
        )
        with self._on_stream():
            moved = tuple(torch.empty_like(each, device=self._device) for each in staged) if on_gpu else staged
        return _Shape(staged=staged, inputs=moved)

    def _compute(self, shape: _Shape) -> None:
        """Replay the shape's graph, which is made when the shape comes for the second time, or run it eagerly."""
        if shape.graph is None and shape.has_run and shape.can_capture and self._pool is not None:
            self._capture(shape)
        if shape.graph is not None:
            shape.graph.replay()
        else:
            shape.outputs = self._graph(*shape.inputs)
        shape.has_run = True

    def _capture(self, shape: _Shape) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads may use other GPUs meanwhile
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                shape.outputs = self._graph(*shape.inputs)
        except RuntimeError as error:
            shape.can_capture = False
            _log.warning("no CUDA graph of batches of %s: %s", tuple(shape.inputs[0].shape[:3]), first_line(error))
        else:
            shape.graph = graph

    def _fetch(self, shape: _Shape) -> None:
        """Start the outputs' way back to the host."""
        if self._done is None:
            return
        if not shape.fetched:
            shape.fetched = tuple(torch.empty(each.shape, dtype=each.dtype, pin_memory=True) for each in shape.outputs)
        for host, on_device in zip(shape.fetched, shape.outputs, strict=True):
            host.copy_(on_device, non_blocking=True)
        self._done.record()
