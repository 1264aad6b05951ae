"""One execution context of an engine: a stream, its buffers, and a CUDA graph for every shape that repeats."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ShapeRange
from geminifusion_runtime.backends.protocol import GraphInputs
from geminifusion_runtime.backends.tensorrt.loading import Messages, check
from geminifusion_runtime.backends.tensorrt.requirements import TensorRtError

if TYPE_CHECKING:
    import tensorrt as trt
    from cuda.bindings import runtime as cudart

# Each holds a TensorRT context and perhaps a CUDA graph. A camera has one size; with many sizes, more would not help.
SHAPES_KEPT = 8

Outputs = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Binding:
    """One input or output tensor: its type, its channels, and the factor by which its sides are reduced."""

    name: str
    dtype: np.dtype[np.generic]
    channels: int | None  # None: no channel axis
    reduction: int
    is_input: bool
    channels_first: bool = False

    def shape(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        """Shape of this tensor for a batch of frames of `height` x `width`."""
        sides = (batch, -(-height // self.reduction), -(-width // self.reduction))
        if self.channels is None:
            return sides
        return (batch, self.channels, *sides[1:]) if self.channels_first else (*sides, self.channels)

    def num_bytes(self, batch: int, height: int, width: int) -> int:
        """Size of this tensor in bytes for a batch of frames of `height` x `width`."""
        return int(np.prod(self.shape(batch, height, width))) * self.dtype.itemsize


def bindings_of(metadata: ArtifactMetadata) -> tuple[Binding, ...]:
    """The graph's inputs, as the metadata describes them, and its outputs."""
    inputs = [
        Binding(spec.name, np.dtype(spec.dtype), 3 if spec.channels == 3 else None, 1, is_input=True)
        for spec in metadata.modalities
    ]
    outputs = [
        Binding(
            each.name,
            np.dtype(each.dtype),
            each.channels,
            each.reduction,
            is_input=False,
            channels_first=each.channels_first,
        )
        for each in metadata.outputs
    ]
    return (*inputs, *outputs)


def require_contract(engine: trt.ICudaEngine, bindings: Sequence[Binding], num_profiles: int) -> None:
    """Reject an engine whose inputs and outputs are not those the metadata describes.

    Raises:
        TensorRtError: naming the difference.
    """
    import tensorrt as trt

    modes = {True: trt.TensorIOMode.INPUT, False: trt.TensorIOMode.OUTPUT}
    dtypes = {"uint8": trt.DataType.UINT8, "float32": trt.DataType.FLOAT}
    expected = {binding.name: (modes[binding.is_input], dtypes[binding.dtype.name]) for binding in bindings}
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    found = {name: (engine.get_tensor_mode(name), engine.get_tensor_dtype(name)) for name in names}
    if found != expected:
        raise TensorRtError(f"the engine has the tensors {found}, the metadata says {expected}; build the engine again")
    if engine.num_optimization_profiles != num_profiles:
        raise TensorRtError(
            f"the engine has {engine.num_optimization_profiles} profiles, the metadata {num_profiles}; build it again"
        )


@dataclass(frozen=True)
class _Buffer:
    """Memory of one tensor: pinned on the host, and on the device. CUDA graphs hold both addresses."""

    host: int
    device: int
    bytes: NDArray[np.uint8]  # a view of the host memory


class _Shape:
    """A TensorRT context set to one profile and one shape."""

    def __init__(self, context: trt.IExecutionContext) -> None:
        self.context = context
        self.has_run = False
        self.can_capture = True
        self.graph: cudart.cudaGraphExec_t | None = None


class ExecutionContext:
    """Runs one batch at a time, on a stream of its own.

    Raises:
        TensorRtError: the GPU has no room for the buffers of the largest profile.
    """

    def __init__(
        self,
        engine: trt.ICudaEngine,
        profiles: Sequence[ShapeRange],
        bindings: Sequence[Binding],
        messages: Messages,
    ) -> None:
        from cuda.bindings import runtime as cudart

        self._engine = engine
        self._bindings = bindings
        self._messages = messages
        self._shapes: OrderedDict[tuple[int, tuple[int, int, int]], _Shape] = OrderedDict()
        with ExitStack() as owned:  # releases what it holds if a later allocation fails
            self._stream = check(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
            owned.callback(cudart.cudaStreamDestroy, self._stream)
            self._scratch_bytes = max(1, engine.device_memory_size_v2)
            self._scratch = check(cudart.cudaMalloc(self._scratch_bytes))
            owned.callback(cudart.cudaFree, self._scratch)
            self._buffers = {}
            for binding in bindings:
                size = max(binding.num_bytes(*profile.maximum) for profile in profiles)
                self._buffers[binding.name] = _allocate(size, owned)
            owned.callback(self._forget_shapes)
            self._owned = owned.pop_all()

    def run(self, profile: int, inputs: GraphInputs) -> Outputs:
        """Run a batch that fits `profile`; see `TensorRtBackend.run`.

        Raises:
            TensorRtError: TensorRT or CUDA failed.
        """
        from cuda.bindings import runtime as cudart

        batch, height, width = next(iter(inputs.values())).shape[:3]
        size = (batch, height, width)
        shape = self._shape(profile, size)
        for binding in self._bindings:
            if binding.is_input:
                np.copyto(self._view(binding, size), inputs[binding.name])
        if shape.has_run and shape.graph is None and shape.can_capture:
            self._capture(shape, size)
        if shape.graph is not None:
            check(cudart.cudaGraphLaunch(shape.graph, self._stream))
        else:
            self._enqueue(shape, size)
        check(cudart.cudaStreamSynchronize(self._stream))
        shape.has_run = True
        return {binding.name: self._view(binding, size).copy() for binding in self._bindings if not binding.is_input}

    def close(self) -> None:
        """Release stream, memory and graphs."""
        self._owned.close()

    def _shape(self, profile: int, size: tuple[int, int, int]) -> _Shape:
        """The TensorRT context for this shape, created if it is new; the least recently used one is evicted.

        A CUDA graph stays valid only while its context keeps its shape, so each shape has a context. All contexts share
        one scratch memory, since a stream runs them one after another.
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
            raise TensorRtError(f"TensorRT made no execution context ({self._messages.last_error()}); free GPU memory")
        done = context.set_optimization_profile_async(profile, int(self._stream))
        check(cudart.cudaStreamSynchronize(self._stream))
        context.set_device_memory(self._scratch, self._scratch_bytes)
        for binding in self._bindings:
            if binding.is_input:
                done = done and context.set_input_shape(binding.name, binding.shape(*size))
            done = done and context.set_tensor_address(binding.name, self._buffers[binding.name].device)
        if not done or context.infer_shapes():
            raise TensorRtError(f"the engine refuses batch x height x width {size} ({self._messages.last_error()})")
        for binding in self._bindings:
            found = tuple(context.get_tensor_shape(binding.name))
            if found != binding.shape(*size):
                raise TensorRtError(
                    f"the engine gives {binding.name} the shape {found}, the contract says {binding.shape(*size)}; "
                    "build the engine again"
                )
        return context

    def _enqueue(self, shape: _Shape, size: tuple[int, int, int]) -> None:
        """Enqueue the copies of the inputs, the network, and the copies of the outputs."""
        self._copy(size, inputs=True)
        if not shape.context.execute_async_v3(int(self._stream)):
            raise TensorRtError(f"TensorRT could not run the engine ({self._messages.last_error()}); see nvidia-smi")
        self._copy(size, inputs=False)

    def _copy(self, size: tuple[int, int, int], *, inputs: bool) -> None:
        from cuda.bindings import runtime as cudart

        kinds = cudart.cudaMemcpyKind
        for binding in self._bindings:
            if binding.is_input != inputs:
                continue
            buffer = self._buffers[binding.name]
            ends = (buffer.device, buffer.host) if inputs else (buffer.host, buffer.device)
            kind = kinds.cudaMemcpyHostToDevice if inputs else kinds.cudaMemcpyDeviceToHost
            check(cudart.cudaMemcpyAsync(*ends, binding.num_bytes(*size), kind, self._stream))

    def _capture(self, shape: _Shape, size: tuple[int, int, int]) -> None:
        """Capture what this shape launches as a CUDA graph.

        An engine that needs the CPU midway cannot be captured and runs without a graph.
        """
        from cuda.bindings import runtime as cudart

        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(cudart.cudaStreamBeginCapture(self._stream, mode))
        try:
            self._enqueue(shape, size)
        except TensorRtError:
            shape.can_capture = False
        error, graph = cudart.cudaStreamEndCapture(self._stream)
        if error != cudart.cudaError_t.cudaSuccess:
            shape.can_capture = False
            cudart.cudaGetLastError()  # a failed capture is no error of the runs after it
            return
        try:
            if shape.can_capture:
                shape.graph = check(cudart.cudaGraphInstantiate(graph, 0))
        except TensorRtError:
            shape.can_capture = False
        finally:
            check(cudart.cudaGraphDestroy(graph))

    def _view(self, binding: Binding, size: tuple[int, int, int]) -> NDArray[np.generic]:
        raw = self._buffers[binding.name].bytes[: binding.num_bytes(*size)]
        return raw.view(binding.dtype).reshape(binding.shape(*size))

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
