"""Loads the plugin library into this process, plays TensorRT to it, and runs what it launches on numpy.

The library's own code decides about kernel, grid and arguments; the PTX that runs is read out of the library.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ptx_interpreter import Memory, PtxError, launch, parse

DATA_TYPES = {"f32": 0, "f16": 1, "int8": 2, "int32": 3, "bool": 4, "uint8": 5, "fp8": 6, "bf16": 7, "int64": 8}
LINEAR = 0
NUM_FORMATS = 13
FIELD_TYPES = {"float16": 0, "float32": 1, "float64": 2, "int8": 3, "int16": 4, "int32": 5, "int64": 9}
_FAT_BINARY_MAGIC = 0xBA55ED50
_FIELD_VALUES = {
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
}


def compile_host(folder: Path, source: str, *headers: Path) -> Path:
    """Compile `plugin_host.cpp` or `kernel_host.cpp`; what is linked with the result finds CUDA's runtime in it."""
    library = folder / "host.so"
    path = Path(__file__).parent / source
    includes = [part for each in headers for part in ("-isystem", str(each))]
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", *includes, str(path), "-o", str(library)]
    subprocess.run([*command, "-ldl"], check=True)
    return library


class CudaStandIn:
    """CUDA's runtime for one library that is linked with it: what that launches is run on numpy.

    The library is to be loaded after this was made; `read_kernels` then finds its PTX.
    """

    def __init__(self, host_library: Path) -> None:
        self._host = ctypes.CDLL(str(host_library))
        self._host.host_fat_binary.restype = self._host.host_stream.restype = ctypes.c_void_p
        signature = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p)
        )
        self._callback = signature(self._on_launch)
        self._host.host_on_launch(self._callback)
        self.memory = Memory()
        self.last_kernel: str | None = None
        self.failure: PtxError | None = None

    @property
    def stream(self) -> int:
        """The one stream that launches are taken on."""
        return self._host.host_stream()

    def read_kernels(self) -> None:
        """Find the kernels of the library that was loaded."""
        self.ptx = _ptx_of(self._host.host_fat_binary())
        self.kernels = parse(self.ptx)

    def place(self, inputs: dict, mixed: np.ndarray) -> None:
        """Make these arrays the memory of the GPU."""
        self.memory = Memory()
        self.last_kernel = self.failure = None
        for name, array in inputs.items():
            self.memory.add(name, array)
        self.memory.add("mixed", mixed, writable=True)

    def _on_launch(self, name: bytes, grid: int, block: int, pointers: Sequence[int]) -> int:
        self.last_kernel = name.decode()
        try:
            kernel = self.kernels[self.last_kernel]
            arguments = [
                int.from_bytes(ctypes.string_at(pointers[i], size), "little")
                for i, (_, size) in enumerate(kernel.parameters)
            ]
            launch(kernel, grid, block, arguments, self.memory)
        except PtxError as error:
            self.failure = error
            return 1
        return 0


class PluginHost(CudaStandIn):
    """One plugin library, with the calls TensorRT makes on it."""

    def __init__(self, library: Path, host_library: Path) -> None:
        super().__init__(host_library)
        for name in ("creator_name", "creator_version", "creator_namespace", "creator_field", "take_messages"):
            getattr(self._host, f"host_{name}").restype = ctypes.c_char_p
        self._host.host_timing_cache_id.restype = ctypes.c_char_p
        for name in ("create", "clone", "attach", "recreate"):
            getattr(self._host, f"host_{name}").restype = ctypes.c_void_p
        self.num_creators = self._host.host_open(str(library).encode())
        assert self.num_creators >= 0, self.messages()
        self.read_kernels()

    def messages(self) -> str:
        """What was logged since the last call."""
        return self._host.host_take_messages().decode()

    def identity(self) -> tuple[str, str, str]:
        """Name, version and namespace of the creator."""
        host = self._host
        answers = (host.host_creator_name(), host.host_creator_version(), host.host_creator_namespace())
        return tuple(answer.decode() for answer in answers)

    def fields(self) -> list[str]:
        """Names of the attributes the parser looks for on the node."""
        return [self._host.host_creator_field(i).decode() for i in range(self._host.host_creator_num_fields())]

    def create(self, *fields: tuple[str, str, Sequence[float]]) -> Plugin | None:
        """A plugin from fields `(name, type, values)`; None if the library refused."""
        values = [np.asarray(value, _FIELD_VALUES[kind]) for _, kind, value in fields]
        count = len(fields)
        handle = self._host.host_create(
            count,
            (ctypes.c_char_p * count)(*(name.encode() for name, _, _ in fields)),
            (ctypes.c_int32 * count)(*(FIELD_TYPES[kind] for _, kind, _ in fields)),
            (ctypes.c_int32 * count)(*(value.size for value in values)),
            (ctypes.c_void_p * count)(*(value.ctypes.data if value.size else None for value in values)),
        )
        return Plugin(self._host, handle) if handle else None

    def create_without_fields(self) -> Plugin | None:
        """What happens if TensorRT passes no collection at all."""
        handle = self._host.host_create(-1, None, None, None, None)
        return Plugin(self._host, handle) if handle else None

    def fuse(self, plugin: Plugin, kind: str, shape: tuple[int, ...], inputs: dict, mixed: np.ndarray) -> int:
        """`enqueue` on these arrays; what it launches has run when this returns. The library's status."""
        self.place(inputs, mixed)
        status = plugin.enqueue(kind, shape, [*inputs.values(), mixed])
        if self.failure is not None:
            raise self.failure
        return status


class Plugin:
    """A plugin object of the library; `close` deletes it."""

    def __init__(self, host: ctypes.CDLL, handle: int) -> None:
        self._host = host
        self._handle = ctypes.c_void_p(handle)

    def close(self) -> None:
        self._host.host_destroy(self._handle)

    def _another(self, make: Callable[[ctypes.c_void_p], int | None]) -> Plugin:
        handle = make(self._handle)
        assert handle, "the plugin gave no copy"
        return Plugin(self._host, handle)

    def clone(self) -> Plugin:
        return self._another(self._host.host_clone)

    def attach(self) -> Plugin:
        return self._another(self._host.host_attach)

    def serialise_and_recreate(self) -> Plugin:
        return self._another(self._host.host_recreate)

    def timing_cache_id(self) -> str:
        return self._host.host_timing_cache_id(self._handle).decode()

    def num_outputs(self) -> int:
        return self._host.host_num_outputs(self._handle)

    def output_type(self, kinds: Sequence[str]) -> str | None:
        types = (ctypes.c_int32 * len(kinds))(*(DATA_TYPES[kind] for kind in kinds))
        answer = self._host.host_output_type(self._handle, types, len(kinds))
        return next((kind for kind, number in DATA_TYPES.items() if number == answer), None)

    def output_has_shape_of_q(self, rank: int) -> bool:
        return bool(self._host.host_output_has_shape_of_q(self._handle, rank))

    def supports(self, kinds: Sequence[str], formats: Sequence[int]) -> bool:
        types = (ctypes.c_int32 * 5)(*(DATA_TYPES[kind] for kind in kinds))
        return bool(self._host.host_supports(self._handle, types, (ctypes.c_int32 * 5)(*formats)))

    def configure(self, kind: str, shape: Sequence[int], *, num_inputs: int = 4) -> bool:
        dims = (ctypes.c_int64 * len(shape))(*shape)
        return self._host.host_configure(self._handle, DATA_TYPES[kind], len(shape), dims, num_inputs) == 0

    def change_shape(self, kinds: Sequence[str], shapes: Sequence[Sequence[int]]) -> bool:
        types = (ctypes.c_int32 * 5)(*(DATA_TYPES[kind] for kind in kinds))
        dims = (ctypes.c_int64 * (5 * len(shapes[0])))(*(size for shape in shapes for size in shape))
        return self._host.host_shape_change(self._handle, types, len(shapes[0]), dims) == 0

    def enqueue(self, kind: str, shape: Sequence[int], tensors: Sequence[np.ndarray]) -> int:
        dims = (ctypes.c_int64 * len(shape))(*shape)
        pointers = (ctypes.c_void_p * 5)(*(tensor.ctypes.data for tensor in tensors))
        return self._host.host_enqueue(self._handle, DATA_TYPES[kind], len(shape), dims, pointers)


def _ptx_of(wrapper: int) -> str:
    """The uncompressed PTX in a fat binary that was registered with CUDA's runtime."""

    class Wrapper(ctypes.Structure):
        _fields_ = (("magic", ctypes.c_uint32), ("version", ctypes.c_uint32), ("data", ctypes.c_void_p))

    data = Wrapper.from_address(wrapper).data
    magic, header = np.frombuffer(ctypes.string_at(data, 8), np.uint32)
    assert magic == _FAT_BINARY_MAGIC, hex(magic)
    size = int.from_bytes(ctypes.string_at(data + 8, 8), "little") + int(header >> 16)
    content = ctypes.string_at(data, size)
    start = content.index(b".version")
    return content[start : content.index(b"\0", start)].decode()
