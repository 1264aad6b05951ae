"""A prebuilt TensorRT engine on one GPU, run with NVIDIA's Python bindings alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import GraphInputs, GraphOutputs, batch_shape
from geminifusion_runtime.backends.tensorrt.execution_context import ExecutionContext, bindings_of, require_contract
from geminifusion_runtime.backends.tensorrt.loading import Messages, check, deserialize, load_plugin, require_loadable
from geminifusion_runtime.backends.tensorrt.requirements import TensorRtError, engine_of, plan_parts, size_problem


class TensorRtBackend:
    """The engine of an artifact.

    `run` may be called from several threads: concurrent calls have an execution context, a stream and buffers each,
    created when first needed and kept. Device and pinned memory are sized once, for the largest profile. What a shape
    launches is captured as a CUDA graph when it comes a second time, and replayed from then on; the last eight shapes
    are kept.

    Args:
        directory: of the artifact; its files were checked against their SHA-256.

    Raises:
        TensorRtError: the engine was built for another TensorRT, GPU or plugin, or TensorRT rejects it; see
            `require_loadable` for what is checked before it is loaded.
    """

    name = "tensorrt"

    def __init__(self, directory: Path, metadata: ArtifactMetadata, *, device: int = 0) -> None:
        path, plugin = require_loadable(directory, metadata, device)
        import tensorrt as trt
        from cuda.bindings import runtime as cudart

        check(cudart.cudaSetDevice(device))
        self._device = device
        self._profiles = engine_of(metadata)[1].profiles
        self._bindings = bindings_of(metadata)
        self._messages = Messages()
        self._logger = self._messages.logger()
        self._runtime = trt.Runtime(self._logger)
        if plugin is not None:
            load_plugin(self._runtime.get_plugin_registry(), plugin, self._messages)
        self._engine = deserialize(path.read_bytes(), self._runtime, self._messages, str(path))
        require_contract(self._engine, self._bindings, len(self._profiles))
        self._lock = threading.Lock()
        self._idle: list[ExecutionContext] = []

    def size_problem(self, height: int, width: int) -> str | None:
        """Why frames of this size cannot be run, naming the ranges the engine was built for; None if they can."""
        return size_problem(self._profiles, height, width)

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch; see `Backend`. A batch larger than the profiles take is run in parts.

        Raises:
            TensorRtError: a size outside every profile, or TensorRT or CUDA failed.
            ValueError: a modality is missing or of another type or shape.
        """
        bindings = [binding for binding in self._bindings if binding.is_input]
        if missing := [binding.name for binding in bindings if binding.name not in inputs]:
            raise ValueError(f"{', '.join(missing)} is missing; feed {', '.join(binding.name for binding in bindings)}")
        batch, height, width = batch_shape(inputs)
        for binding in bindings:
            array = inputs[binding.name]
            expected = binding.shape(batch, height, width)
            if array.shape != expected or array.dtype != binding.dtype:
                raise ValueError(f"{binding.name} is {array.dtype} {array.shape}; expected {binding.dtype} {expected}")
        parts = []
        with self._context() as context:
            for profile, start, stop in plan_parts(self._profiles, batch, height, width):
                part = {binding.name: inputs[binding.name][start:stop] for binding in bindings}
                parts.append(context.run(profile, part))
        outputs = parts[0]
        if len(parts) > 1:
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in outputs}
        return outputs

    def close(self) -> None:
        """Release everything on the GPU; nothing may be running."""
        with self._lock:
            for context in self._idle:
                context.close()
            self._idle.clear()

    @contextlib.contextmanager
    def _context(self) -> Iterator[ExecutionContext]:
        from cuda.bindings import runtime as cudart

        check(cudart.cudaSetDevice(self._device))  # a property of the thread
        with self._lock:
            context = self._idle.pop() if self._idle else None
        if context is None:
            context = ExecutionContext(self._engine, self._profiles, self._bindings, self._messages)
        try:
            yield context
        except TensorRtError:
            context.close()  # its stream is not reliable after a CUDA error
            raise
        with self._lock:
            self._idle.append(context)
