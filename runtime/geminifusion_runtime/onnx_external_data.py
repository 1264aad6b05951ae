"""The files beside an ONNX model that it reads its weights from; a runtime opens them whatever their checksum.

Read from the bytes of the file: the package `onnx` is not installed where models are served.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from geminifusion_runtime.bounded_files import open_regular
from geminifusion_runtime.protobuf_wire import BYTES, WireError, wire_fields

_MAX_FIELDS = 4_000_000  # a network of ten thousand nodes has less than a million
_MAX_DEPTH = 64
_EXTERNAL_DATA, _KEY, _VALUE = 13, 1, 2  # of TensorProto, and of its entries
_ENTRY, _LOCATION = "Entry", b"location"

# Every field that leads to a tensor, by message and number, as onnx.proto has them.
_LEADS_TO: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {_EXTERNAL_DATA: _ENTRY},
}


def external_files(path: Path, *, max_bytes: int) -> set[str]:
    """Locations of external data that an ONNX file names, as it names them.

    Raises:
        UnusableFileError, OSError: see `open_regular`.
        WireError: it is no ONNX file, or one of far more parts than any network has.
    """
    found: set[str] = set()
    with open_regular(path, max_bytes=max_bytes) as stream:
        if not stream.seek(0, 2):
            return found
        # Unmapped with the last view of it: closing it would raise while an error holds one.
        _collect(memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)), found)
    return found


def _collect(content: memoryview, found: set[str]) -> None:
    left = _MAX_FIELDS
    open_messages = [("Model", content, 0)]
    while open_messages:
        kind, message, depth = open_messages.pop()
        if depth > _MAX_DEPTH:
            raise WireError("the graph is nested too deep")
        entry: dict[int, memoryview] = {}
        for field in wire_fields(message):
            left -= 1
            if left < 0:
                raise WireError(f"the graph has more than {_MAX_FIELDS} parts")
            if kind == _ENTRY:
                entry[field.number] = field.content
            elif field.kind == BYTES and (inner := _LEADS_TO[kind].get(field.number)) is not None:
                open_messages.append((inner, field.content, depth + 1))
        if bytes(entry.get(_KEY, b"")) == _LOCATION:
            found.add(bytes(entry.get(_VALUE, b"")).decode("utf-8", "replace"))
