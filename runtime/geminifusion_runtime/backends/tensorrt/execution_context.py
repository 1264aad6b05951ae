"""One execution context's share of an engine: a stream, its buffers, and a CUDA graph for shapes that come again.

Axes: B batch, H W image, h w a quarter of it rounded up. Checked on CPU as far as it goes without CUDA, not run on a
GPU by us.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ShapeRange
from geminifusion_runtime.backends.tensorrt.loading import Messages, check
from geminifusion_runtime.backends.tensorrt.requirements import EngineError

if TYPE_CHECKING:
    import tensorrt as trt
    from cuda.bindings import runtime as cudart

# Each holds an execution context and perhaps a CUDA graph. A camera has one size; a mixed crowd gains nothing by more.
SHAPES_KEPT = 8

Outputs = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Port:
    """One input or output: its type, its channels and by how much its sides are reduced."""

    name: str
    dtype: np.dtype[np.generic]
    channels: int | None  # None: no such axis
    reduction: int
    is_input: bool

    def shape(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        """Of this tensor, for frames of `height` x `width`."""
        sides = (batch, -(-height // self.reduction), -(-width // self.reduction))
        return sides if self.channels is None else (*sides, self.channels)

    def num_bytes(self, batch: int, height: int, width: int) -> int:
        """Of this tensor, for frames of `height` x `width`."""
        return int(np.prod(self.shape(batch, height, width))) * self.dtype.itemsize


def ports_of(metadata: ArtifactMetadata) -> tuple[Port, ...]:
    """The graph's inputs, as the metadata describes them, and its three outputs."""
    inputs = [
        Port(spec.name, np.dtype(spec.dtype), 3 if spec.channels == 3 else None, 1, is_input=True)
        for spec in metadata.modalities
    ]
    outputs = [
        Port("labels", np.dtype(np.uint8), None, 1, is_input=False),
        Port("confidence", np.dtype(np.float32), None, 4, is_input=False),
        Port("gate", np.dtype(np.float32), None, 4, is_input=False),
    ]
    return (*inputs, *outputs)


def require_contract(engine: trt.ICudaEngine, ports: Sequence[Port], num_profiles: int) -> None:
    """Refuse an engine whose inputs and outputs are not those the metadata describes.

    Raises:
        EngineError: naming the difference.
    """
    import tensorrt as trt

    dtypes = {"uint8": trt.DataType.UINT8, "float32": trt.DataType.FLOAT}
    expected = {
        port.name: (trt.TensorIOMode.INPUT if port.is_input else trt.TensorIOMode.OUTPUT, dtypes[port.dtype.name])
        for port in ports
    }
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    found = {name: (engine.get_tensor_mode(name), engine.get_tensor_dtype(name)) for name in names}
    if found != expected:
        raise EngineError(f"the engine has the tensors {found}, the metadata says {expected}; build the engine again")
    if engine.num_optimization_profiles != num_profiles:
        raise EngineError(
            f"the engine has {engine.num_optimization_profiles} profiles, the metadata {num_profiles}; build it again"
        )


@dataclass(frozen=True)
class _Buffer:
    """A tensor's fixed places: pinned host memory and device memory. CUDA graphs remember both."""

    host: int
    device: int
    bytes: NDArray[np.uint8]  # a view of the host memory


class _Shape:
    """An execution context set to one profile and one shape."""

    def __init__(self, context: trt.IExecutionContext) -> None:
        self.context = context
        self.has_run = False
        self.can_record = True
        self.graph: cudart.cudaGraphExec_t | None = None


class Worker:
    """Runs one batch at a time on a stream of its own.

    Raises:
        EngineError: the GPU has no room for the buffers of the largest profile.
    """

    def __init__(
        self,
        engine: trt.ICudaEngine,
        profiles: Sequence[ShapeRange],
        ports: Sequence[Port],
        messages: Messages,
        cuda_graphs: bool,
    ) -> None:
        from cuda.bindings import runtime as cudart

        self._engine = engine
        self._ports = ports
        self._messages = messages
        self._cuda_graphs = cuda_graphs
        self._shapes: OrderedDict[tuple[int, tuple[int, int, int]], _Shape] = OrderedDict()
        with ExitStack() as owned:  # gives back what it holds if a later allocation fails
            self._stream = check(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
            owned.callback(cudart.cudaStreamDestroy, self._stream)
            self._scratch_bytes = max(1, engine.device_memory_size_v2)
            self._scratch = check(cudart.cudaMalloc(self._scratch_bytes))
            owned.callback(cudart.cudaFree, self._scratch)
            self._buffers = {}
            for port in ports:
                size = max(port.num_bytes(*profile.maximum) for profile in profiles)
                self._buffers[port.name] = _allocate(size, owned)
            owned.callback(self._forget_shapes)
            self._owned = owned.pop_all()

    def run(self, profile: int, feeds: Mapping[str, NDArray[np.generic]]) -> Outputs:
        """Run a batch that fits `profile`; see `LoadedEngine.run`.

        Raises:
            EngineError: TensorRT or CUDA failed.
        """
        from cuda.bindings import runtime as cudart

        batch, height, width = next(iter(feeds.values())).shape[:3]
        size = (batch, height, width)
        shape = self._shape(profile, size)
        for port in self._ports:
            if port.is_input:
                np.copyto(self._view(port, size), feeds[port.name])
        if self._cuda_graphs and shape.has_run and shape.graph is None and shape.can_record:
            self._record(shape, size)
        if shape.graph is not None:
            check(cudart.cudaGraphLaunch(shape.graph, self._stream))
        else:
            self._enqueue(shape, size)
        check(cudart.cudaStreamSynchronize(self._stream))
        shape.has_run = True
        return {port.name: self._view(port, size).copy() for port in self._ports if not port.is_input}

    def close(self) -> None:
        """Give stream, memory and graphs back."""
        self._owned.close()

    def _shape(self, profile: int, size: tuple[int, int, int]) -> _Shape:
        """The context for this shape, made if it is new; the one unused longest makes room.

        A CUDA graph stays valid only while its context keeps its shape, so each shape has a context. All work in one
        scratch memory, since a stream runs one after another.
        """
        key = (profile, size)
        if key in self._shapes:
            self._shapes.move_to_end(key)
            return self._shapes[key]
        if len(self._shapes) >= SHAPES_KEPT:
            _destroy_graph(self._shapes.popitem(last=False)[1])
        self._shapes[key] = shape = _Shape(self._context(profile, size))
        return shape

    def _context(self, profile: int, size: tuple[int, int, int]) -> trt.IExecutionContext:
        import tensorrt as trt
        from cuda.bindings import runtime as cudart

        context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise EngineError(f"TensorRT made no execution context ({self._messages.last_error()}); free GPU memory")
        done = context.set_optimization_profile_async(profile, int(self._stream))
        check(cudart.cudaStreamSynchronize(self._stream))
        context.set_device_memory(self._scratch, self._scratch_bytes)
        for port in self._ports:
            if port.is_input:
                done = done and context.set_input_shape(port.name, port.shape(*size))
            done = done and context.set_tensor_address(port.name, self._buffers[port.name].device)
        if not done or context.infer_shapes():
            raise EngineError(f"the engine refuses batch x height x width {size} ({self._messages.last_error()})")
        for port in self._ports:
            found = tuple(context.get_tensor_shape(port.name))
            if found != port.shape(*size):
                raise EngineError(
                    f"the engine gives {port.name} the shape {found}, the contract says {port.shape(*size)}; build the "
                    "engine again"
                )
        return context

    def _enqueue(self, shape: _Shape, size: tuple[int, int, int]) -> None:
        """Put copies in, the network and copies out on the stream."""
        self._copy(size, inputs=True)
        if not shape.context.execute_async_v3(int(self._stream)):
            raise EngineError(f"TensorRT could not run the engine ({self._messages.last_error()}); see nvidia-smi")
        self._copy(size, inputs=False)

    def _copy(self, size: tuple[int, int, int], *, inputs: bool) -> None:
        from cuda.bindings import runtime as cudart

        kinds = cudart.cudaMemcpyKind
        for port in self._ports:
            if port.is_input != inputs:
                continue
            buffer = self._buffers[port.name]
            ends = (buffer.device, buffer.host) if inputs else (buffer.host, buffer.device)
            kind = kinds.cudaMemcpyHostToDevice if inputs else kinds.cudaMemcpyDeviceToHost
            check(cudart.cudaMemcpyAsync(*ends, port.num_bytes(*size), kind, self._stream))

    def _record(self, shape: _Shape, size: tuple[int, int, int]) -> None:
        """Record what this shape launches; an engine that must ask the CPU midway cannot be, and runs as before."""
        from cuda.bindings import runtime as cudart

        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(cudart.cudaStreamBeginCapture(self._stream, mode))
        try:
            self._enqueue(shape, size)
        except EngineError:
            shape.can_record = False
        error, graph = cudart.cudaStreamEndCapture(self._stream)
        if error != cudart.cudaError_t.cudaSuccess:
            shape.can_record = False
            cudart.cudaGetLastError()  # a refused recording is no failure of the runs after it
            return
        try:
            if shape.can_record:
                shape.graph = check(cudart.cudaGraphInstantiate(graph, 0))
        except EngineError:
            shape.can_record = False
        finally:
            check(cudart.cudaGraphDestroy(graph))

    def _view(self, port: Port, size: tuple[int, int, int]) -> NDArray[np.generic]:
        raw = self._buffers[port.name].bytes[: port.num_bytes(*size)]
        return raw.view(port.dtype).reshape(port.shape(*size))

    def _forget_shapes(self) -> None:
        for shape in self._shapes.values():
            _destroy_graph(shape)
        self._shapes.clear()


def _allocate(size: int, owned: ExitStack) -> _Buffer:
    from cuda.bindings import runtime as cudart

    host = check(cudart.cudaHostAlloc(size, cudart.cudaHostAllocDefault))
    owned.callback(cudart.cudaFreeHost, host)
    device = check(cudart.cudaMalloc(size))
    owned.callback(cudart.cudaFree, device)
    view = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(host))
    return _Buffer(host, device, view)


def _destroy_graph(shape: _Shape) -> None:
    if shape.graph is not None:
        from cuda.bindings import runtime as cudart

        check(cudart.cudaGraphExecDestroy(shape.graph))
        shape.graph = None
