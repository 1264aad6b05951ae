"""ONNX Runtime's CUDA provider. Its binding runs on the CPU in our tests; not run on a GPU by us."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from geminifusion_runtime.backends.protocol import GraphOutputs

_OUTPUTS = ("labels", "confidence", "gate")
_PROVIDER = "CUDAExecutionProvider"
# Both packages hold the same files, so one of them has to go first.
_INSTALL = 'pip uninstall onnxruntime onnxruntime-gpu && pip install "geminifusion[gpu]"'


class OnnxRuntimeCudaBackend:
    """One session on one GPU.

    ONNX Runtime goes on without a word on the CPU when it cannot use the GPU; here that is an error. The memory of runs
    larger than `retained_pixels` is given back, as on the CPU.

    Raises:
        RuntimeError: no CUDA provider is installed, it does not start, or the file lacks an output of the contract.
    """

    name = "onnxruntime-cuda"

    def __init__(self, model: Path, *, device: int = 0, retained_pixels: int) -> None:
        available = onnxruntime.get_available_providers()
        if _PROVIDER not in available:
            raise RuntimeError(f"this ONNX Runtime has no {_PROVIDER} (it has {', '.join(available)}); run: {_INSTALL}")
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN out of their wheels, where those are installed
        options = onnxruntime.SessionOptions()
        options.enable_mem_pattern = False  # a plan per input shape is kept for ever
        provider = (_PROVIDER, {"device_id": str(device), "arena_extend_strategy": "kSameAsRequested"})
        self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        running = self._session.get_providers()
        if _PROVIDER not in running:
            raise RuntimeError(
                f"ONNX Runtime could not start {_PROVIDER} on GPU {device} and fell back to {', '.join(running)}; "
                "its log says what is missing, mostly a CUDA or cuDNN of the right version"
            )
        missing = set(_OUTPUTS) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise RuntimeError(f"{model} has no output {sorted(missing)}; export the artifact again")
        self._device = device
        self._retained_pixels = retained_pixels
        self._return_memory = onnxruntime.RunOptions()
        self._return_memory.add_run_config_entry("memory.enable_memory_arena_shrinkage", f"gpu:{device}")

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        batch, height, width = inputs["rgb"].shape[:3]
        oversized = batch * height * width > self._retained_pixels
        return run_bound(self._session, inputs, "cuda", self._device, self._return_memory if oversized else None)


def run_bound(
    session: Any,  # noqa: ANN401 - onnxruntime is untyped
    inputs: Mapping[str, NDArray[np.generic]],
    device_type: str,
    device: int,
    run_options: Any = None,  # noqa: ANN401
) -> GraphOutputs:
    """Run a session with inputs put on a device first and outputs left there until all are done.

    Without a binding each input and output is a transfer of its own that the run waits for.
    """
    binding = session.io_binding()
    for name, array in inputs.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device_type, device)
        binding.bind_ortvalue_input(name, value)
    for name in _OUTPUTS:
        binding.bind_output(name, device_type, device)
    session.run_with_iobinding(binding, run_options)
    labels, confidence, gate = binding.copy_outputs_to_cpu()
    return GraphOutputs(
        labels=labels,
        confidence=confidence.astype(np.float32, copy=False),
        gate=gate.astype(np.float32, copy=False),
    )
