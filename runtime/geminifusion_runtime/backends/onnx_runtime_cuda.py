"""ONNX Runtime's CUDA provider."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from geminifusion_runtime.artifact import OutputTensor
from geminifusion_runtime.backends.onnx_runtime import new_session
from geminifusion_runtime.backends.protocol import (
    BackendError,
    GraphInputs,
    GraphOutputs,
    batch_shape,
    graph_outputs,
    served_outputs,
)

_PROVIDER = "CUDAExecutionProvider"
# Both packages install the same files, so one of them has to go first.
_INSTALL = 'pip uninstall -y onnxruntime && pip install "geminifusion[service-gpu]"'


def provider_problem() -> str | None:
    """Why the installed ONNX Runtime has no CUDA, and what to install; None if it has."""
    available = onnxruntime.get_available_providers()
    if _PROVIDER in available:
        return None
    return f"this ONNX Runtime has no {_PROVIDER} (it has {', '.join(available)}); run: {_INSTALL}"


class OnnxRuntimeCudaBackend:
    """One session on one GPU.

    ONNX Runtime falls back to the CPU silently when it cannot use the GPU; here that is an error. The arena is shrunk
    after runs of more than `retained_pixels` pixels, as on the CPU.

    Raises:
        RuntimeError: no CUDA provider is installed, it does not start, or the file lacks an output of the artifact.
    """

    name = "onnxruntime-cuda"

    def __init__(
        self, model: Path, *, device: int = 0, retained_pixels: int, outputs: Sequence[OutputTensor] | None = None
    ) -> None:
        if (problem := provider_problem()) is not None:
            raise BackendError(problem)
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN from their wheels, where those are installed
        options = onnxruntime.SessionOptions()
        options.enable_mem_pattern = False  # a plan is kept for every input shape and never freed
        provider = (_PROVIDER, {"device_id": str(device), "arena_extend_strategy": "kSameAsRequested"})
        self._session = new_session(model, options, provider)
        running = self._session.get_providers()
        if _PROVIDER not in running:
            raise BackendError(
                f"ONNX Runtime could not start {_PROVIDER} on GPU {device} and fell back to {', '.join(running)}; "
                "its log says what is missing, mostly a CUDA or cuDNN of the right version"
            )
        self._outputs = served_outputs(model, (output.name for output in self._session.get_outputs()), outputs)
        self._device = device
        self._retained_pixels = retained_pixels
        self._shrink_arena = onnxruntime.RunOptions()
        self._shrink_arena.add_run_config_entry("memory.enable_memory_arena_shrinkage", f"gpu:{device}")

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        oversized = math.prod(batch_shape(inputs)) > self._retained_pixels
        run_options = self._shrink_arena if oversized else None
        return run_bound(self._session, inputs, self._outputs, "cuda", self._device, run_options)


def run_bound(
    session: Any,  # noqa: ANN401 - onnxruntime is untyped
    inputs: GraphInputs,
    outputs: Sequence[str],
    device_type: str,
    device: int,
    run_options: Any = None,  # noqa: ANN401
) -> GraphOutputs:
    """Run a session with the inputs copied to a device first and the outputs left there until all are done.

    Without a binding, each input and output is a separate transfer that the run waits for.
    """
    binding = session.io_binding()
    for name, array in inputs.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device_type, device)
        binding.bind_ortvalue_input(name, value)
    for name in outputs:
        binding.bind_output(name, device_type, device)
    session.run_with_iobinding(binding, run_options)
    return graph_outputs(outputs, binding.copy_outputs_to_cpu())
