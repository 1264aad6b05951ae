"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from geminifusion_runtime.backends.protocol import GraphOutputs

_OUTPUTS = ("labels", "confidence", "gate")


class OnnxRuntimeBackend:
    """One session on `threads` cores.

    Memory: the arena keeps what it once allocated, which is fast while sizes repeat and a leak in disguise
    when they vary. So runs larger than any at most `retained_pixels` large give their memory back, the
    others keep it.

    Args:
        custom_ops: our library of kernels; without it the fusion runs from the function in the file.

    Raises:
        RuntimeError: ONNX Runtime cannot load the file, or it lacks an output of the contract.
    """

    name = "onnxruntime-cpu"

    def __init__(self, model: Path, *, threads: int, retained_pixels: int, custom_ops: Path | None = None) -> None:
        options = onnxruntime.SessionOptions()
        if custom_ops is not None:
            options.register_custom_ops_library(str(custom_ops))
            self.name = "onnxruntime-cpu+ops"
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # A plan per input shape is kept for ever; with free sizes that grows without bound.
        options.enable_mem_pattern = False
        # Spinning workers would take the cores the decoders need between two runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        missing = set(_OUTPUTS) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise RuntimeError(f"{model} has no output {sorted(missing)}; export the artifact again")
        self._retained_pixels = retained_pixels
        self._return_memory = onnxruntime.RunOptions()
        self._return_memory.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        batch, height, width = inputs["rgb"].shape[:3]
        oversized = batch * height * width > self._retained_pixels
        labels, confidence, gate = self._session.run(_OUTPUTS, dict(inputs), self._return_memory if oversized else None)
        return GraphOutputs(
            labels=labels,
            confidence=confidence.astype(np.float32, copy=False),
            gate=gate.astype(np.float32, copy=False),
        )
