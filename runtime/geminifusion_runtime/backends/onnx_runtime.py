"""ONNX Runtime on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from geminifusion_runtime.artifact import OutputTensor
from geminifusion_runtime.backends.protocol import (
    BackendError,
    GraphInputs,
    GraphOutputs,
    batch_shape,
    graph_outputs,
    served_outputs,
)
from geminifusion_runtime.memory_shortage import is_memory_shortage
from geminifusion_runtime.printable import escape_controls

_SAID = 300  # characters of an error, which may name every node of the graph


def open_session(model: Path | bytes, *, threads: int, custom_ops: Path | None = None, optimized: bool = True) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    """A session on the CPU with the options that artifacts are served and verified with.

    Args:
        model: an ONNX file, or its bytes.
        threads: of this session.
        custom_ops: our library of kernels; without it the fusion runs from the function in the file.
        optimized: False runs every node as the file has it, so that any value of the graph can be an output.

    Raises:
        BackendError: ONNX Runtime does not take the file.
    """
    options = onnxruntime.SessionOptions()
    if custom_ops is not None:
        options.register_custom_ops_library(str(custom_ops))
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # A plan is kept for every input shape and never freed; with free sizes that grows without bound.
    options.enable_mem_pattern = False
    # Spinning threads would take the cores that decoding, or another session, needs between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3  # warnings about what the optimizer would have done
    return new_session(model, options, "CPUExecutionProvider")


def new_session(model: Path | bytes, options: Any, provider: str | tuple[str, dict[str, str]]) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    """A session on one provider.

    Raises:
        BackendError: ONNX Runtime does not take the file.
    """
    try:
        return onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # its kinds of errors have no other base
        if is_memory_shortage(error):
            raise
        said = escape_controls(str(error).strip().partition("\n")[0][:_SAID])
        raise BackendError(f"ONNX Runtime cannot load the graph ({said}); export the artifact again") from error


class OnnxRuntimeBackend:
    """One session on `threads` cores.

    Memory: the arena keeps what it has once allocated, which is fast while sizes repeat and amounts to a leak when they
    vary. So it is shrunk after every run of more than `retained_pixels` pixels.

    Args:
        retained_pixels: batch times height times width up to which the memory of a run is kept for the next.
        custom_ops: see `open_session`.
        outputs: of the artifact; None for all that the file has.

    Raises:
        RuntimeError: ONNX Runtime cannot load the file, or it lacks an output of the artifact.
    """

    def __init__(
        self,
        model: Path,
        *,
        threads: int,
        retained_pixels: int,
        custom_ops: Path | None = None,
        outputs: Sequence[OutputTensor] | None = None,
    ) -> None:
        self.name = "onnxruntime-cpu" if custom_ops is None else "onnxruntime-cpu+ops"
        self._session = open_session(model, threads=threads, custom_ops=custom_ops)
        self._outputs = served_outputs(model, (output.name for output in self._session.get_outputs()), outputs)
        self._retained_pixels = retained_pixels
        self._shrink_arena = onnxruntime.RunOptions()
        self._shrink_arena.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        oversized = math.prod(batch_shape(inputs)) > self._retained_pixels
        run_options = self._shrink_arena if oversized else None
        return graph_outputs(self._outputs, self._session.run(self._outputs, dict(inputs), run_options))
