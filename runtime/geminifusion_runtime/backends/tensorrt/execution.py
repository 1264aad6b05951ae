"""Run a TensorRT engine with NVIDIA's Python bindings alone, as the service and the verification both do.

Axes: B batch, H W image, h w a quarter of it rounded up. Checked on CPU as far as it goes without CUDA, not run on a
GPU by us.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.tensorrt.execution_context import Outputs, Worker, ports_of, require_contract
from geminifusion_runtime.backends.tensorrt.loading import Messages, check, deserialise, load_plugin, require_loadable
from geminifusion_runtime.backends.tensorrt.requirements import EngineError, engine_of, plan_parts


class LoadedEngine:
    """An engine on one GPU.

    `run` may be called from several threads: each call at a time has its own execution context, stream and buffers,
    made when first needed and kept. Memory on GPU and pinned memory are sized once, for the largest profile.

    Args:
        directory: of the artifact.
        cuda_graphs: record what a shape launches when it comes a second time, and replay it from then on.

    Raises:
        EngineError: the engine cannot be loaded here; see `require_loadable` for what is checked before it is tried.
    """

    def __init__(
        self, directory: Path, metadata: ArtifactMetadata, *, device: int = 0, cuda_graphs: bool = True
    ) -> None:
        path, plugin = require_loadable(directory, metadata, device)
        import tensorrt as trt
        from cuda.bindings import runtime as cudart

        check(cudart.cudaSetDevice(device))
        self._device = device
        self._cuda_graphs = cuda_graphs
        self._profiles = engine_of(metadata)[1].profiles
        self._ports = ports_of(metadata)
        self._messages = Messages()
        self._logger = self._messages.logger()
        self._runtime = trt.Runtime(self._logger)
        if plugin is not None:
            load_plugin(self._runtime.get_plugin_registry(), plugin, self._messages)
        self._engine = deserialise(path.read_bytes(), self._runtime, self._messages, str(path))
        require_contract(self._engine, self._ports, len(self._profiles))
        self._lock = threading.Lock()
        self._idle: list[Worker] = []

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Outputs:
        """Run one batch; a batch larger than the profiles take is run in parts.

        Args:
            feeds: raw modalities by graph input name, all `B H W [3]`.

        Returns:
            `labels` uint8 `B H W`, `confidence` and `gate` float32 `B h w`, owned by the caller.

        Raises:
            EngineError: a size outside every profile, or TensorRT or CUDA failed.
            ValueError: a modality is missing or of another type or shape.
        """
        inputs = [port for port in self._ports if port.is_input]
        if missing := [port.name for port in inputs if port.name not in feeds]:
            raise ValueError(f"{', '.join(missing)} is missing; feed {', '.join(port.name for port in inputs)}")
        batch, height, width = feeds[inputs[0].name].shape[:3]
        for port in inputs:
            array = feeds[port.name]
            expected = port.shape(batch, height, width)
            if array.shape != expected or array.dtype != port.dtype:
                raise ValueError(f"{port.name} is {array.dtype} {array.shape}; expected {port.dtype} {expected}")
        parts = plan_parts(self._profiles, batch, height, width)
        answers = []
        with self._worker() as worker:
            for profile, start, stop in parts:
                answers.append(worker.run(profile, {port.name: feeds[port.name][start:stop] for port in inputs}))
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def close(self) -> None:
        """Give everything on the GPU back; nothing may be running."""
        with self._lock:
            for worker in self._idle:
                worker.close()
            self._idle.clear()

    def __enter__(self) -> LoadedEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _worker(self) -> Iterator[Worker]:
        from cuda.bindings import runtime as cudart

        check(cudart.cudaSetDevice(self._device))  # a property of the thread
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = Worker(self._engine, self._profiles, self._ports, self._messages, self._cuda_graphs)
        try:
            yield worker
        except EngineError:
            worker.close()  # after a CUDA error its stream is not to be trusted
            raise
        with self._lock:
            self._idle.append(worker)
