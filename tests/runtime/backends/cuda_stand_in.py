"""Stand-ins for CUDA and TensorRT, for machines that have neither: memory is the host's, an engine is ONNX Runtime.

They know only what the engine's code uses, and hold it to the rules: a recorded graph replays what its context is set
to now, memory must be given back, nothing synchronises while recording.
"""

from __future__ import annotations

import ctypes
import enum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort


class CudaStandIn:
    """Stands in for `cuda.bindings.runtime`."""

    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0

    class cudaError_t(enum.IntEnum):
        cudaSuccess = 0
        cudaErrorMemoryAllocation = 2
        cudaErrorNoDevice = 100
        cudaErrorStreamCaptureInvalidated = 901

    cudaDeviceAttr = SimpleNamespace(cudaDevAttrComputeCapabilityMajor=75, cudaDevAttrComputeCapabilityMinor=76)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self):
        self.alive = {}
        self.recording = None
        self.launches = 0
        self.num_devices = 1
        self.memory_bytes = 1 << 40

    def work(self, task):
        """Do it, or note it while recording."""
        if self.recording is None:
            task()
        else:
            self.recording.append(task)
        return (self.cudaError_t.cudaSuccess,)

    def _allocate(self, size):
        if size > self.memory_bytes:
            return self.cudaError_t.cudaErrorMemoryAllocation, None
        memory = (ctypes.c_uint8 * size)()
        self.alive[ctypes.addressof(memory)] = memory
        return self.cudaError_t.cudaSuccess, ctypes.addressof(memory)

    def _free(self, key):
        del self.alive[key]
        return (self.cudaError_t.cudaSuccess,)

    def cudaGetErrorName(self, error):
        return self.cudaError_t.cudaSuccess, error.name.encode()

    def cudaGetErrorString(self, error):
        return self.cudaError_t.cudaSuccess, b"the stand-in says so"

    def cudaGetLastError(self):
        return (self.cudaError_t.cudaSuccess,)

    def cudaGetDeviceCount(self):
        if not self.num_devices:
            return self.cudaError_t.cudaErrorNoDevice, None
        return self.cudaError_t.cudaSuccess, self.num_devices

    def cudaSetDevice(self, device):
        return (self.cudaError_t.cudaSuccess,)

    def cudaDeviceGetAttribute(self, attribute, device):
        return self.cudaError_t.cudaSuccess, {75: 8, 76: 9}[attribute]

    def cudaMalloc(self, size):
        return self._allocate(size)

    def cudaHostAlloc(self, size, flags):
        return self._allocate(size)

    def cudaFree(self, pointer):
        return self._free(pointer)

    def cudaFreeHost(self, pointer):
        return self._free(pointer)

    def cudaStreamCreateWithFlags(self, flags):
        return self._allocate(1)

    def cudaStreamDestroy(self, stream):
        return self._free(stream)

    def cudaStreamSynchronize(self, stream):
        assert self.recording is None
        return (self.cudaError_t.cudaSuccess,)

    def cudaMemcpyAsync(self, target, source, count, kind, stream):
        return self.work(lambda: ctypes.memmove(target, source, count))

    def cudaStreamBeginCapture(self, stream, mode):
        self.recording = []
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamEndCapture(self, stream):
        graph, self.recording = self.recording, None
        self.alive[id(graph)] = graph
        return self.cudaError_t.cudaSuccess, graph

    def cudaGraphInstantiate(self, graph, flags):
        executable = list(graph)
        self.alive[id(executable)] = executable
        return self.cudaError_t.cudaSuccess, executable

    def cudaGraphLaunch(self, executable, stream):
        self.launches += 1
        for task in executable:
            task()
        return (self.cudaError_t.cudaSuccess,)

    def cudaGraphDestroy(self, graph):
        return self._free(id(graph))

    def cudaGraphExecDestroy(self, executable):
        return self._free(id(executable))


class _Context:
    def __init__(self, engine):
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def set_optimization_profile_async(self, index, stream):
        return 0 <= index < self.engine.num_optimization_profiles

    def set_device_memory(self, memory, size):
        assert size >= self.engine.device_memory_size_v2
        assert memory in self.engine.cuda.alive

    def set_input_shape(self, name, shape):
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    def infer_shapes(self):
        return [name for name in self.engine.inputs if name not in self.shapes]

    def get_tensor_shape(self, name):
        if name in self.shapes:
            return self.shapes[name]
        batch, height, width = self.shapes["rgb"][:3]
        quarter = (batch, -(-height // 4), -(-width // 4))
        return (batch, height, width) if name == "labels" else quarter

    def execute_async_v3(self, stream):
        self.engine.executions += 1
        if self.engine.cuda.recording is not None and not self.engine.recordable:
            return False
        self.engine.cuda.work(self._compute)
        return True

    def _compute(self):
        feeds = {name: self._array(name, self.shapes[name]) for name in self.engine.inputs}
        answers = self.engine.session.run(self.engine.outputs, feeds)
        for name, answer in zip(self.engine.outputs, answers, strict=True):
            self._array(name, answer.shape)[...] = answer

    def _array(self, name, shape):
        dtype = np.dtype({"UINT8": np.uint8, "FLOAT": np.float32}[self.engine.get_tensor_dtype(name)])
        size = int(np.prod(shape)) * dtype.itemsize
        return (
            np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.addresses[name])).view(dtype).reshape(shape)
        )


class _Engine:
    device_memory_size_v2 = 1000

    def __init__(self, cuda, model, num_profiles):
        self.cuda = cuda
        self.session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]
        self.num_io_tensors = len(self.inputs) + len(self.outputs)
        self.num_optimization_profiles = num_profiles
        self.recordable = True
        self.executions = self.contexts = 0

    def get_tensor_name(self, index):
        return (self.inputs + self.outputs)[index]

    def get_tensor_mode(self, name):
        return "INPUT" if name in self.inputs else "OUTPUT"

    def get_tensor_dtype(self, name):
        return "UINT8" if name in ("rgb", "labels") else "FLOAT"

    def create_execution_context(self, strategy):
        assert strategy == "USER_MANAGED"
        self.contexts += 1
        return _Context(self)


class TensorRtStandIn:
    """Stands in for `tensorrt`; a plan is the path of an ONNX file."""

    __version__ = "11.4.0.106"
    DataType = SimpleNamespace(UINT8="UINT8", FLOAT="FLOAT")
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="USER_MANAGED")

    class ILogger:
        class Severity(enum.IntEnum):
            INTERNAL_ERROR = 0
            ERROR = 1
            WARNING = 2

    def __init__(self, cuda, num_profiles):
        self.cuda, self.num_profiles, self.engine = cuda, num_profiles, None

    def Runtime(self, logger):
        def deserialize_cuda_engine(plan):
            if not plan.startswith(b"/"):
                logger.log(self.ILogger.Severity.ERROR, "magic tag does not match")
                return None
            self.engine = _Engine(self.cuda, Path(plan.decode()), self.num_profiles)
            return self.engine

        return SimpleNamespace(deserialize_cuda_engine=deserialize_cuda_engine)
