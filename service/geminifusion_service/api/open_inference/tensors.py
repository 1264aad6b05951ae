"""Tensors as the Open Inference Protocol writes them: a datatype, a shape, and little-endian bytes or JSON.

Nothing here copies pixels: raw bytes become an array that views them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import TooLargeError
from geminifusion_service.errors import MalformedBodyError
from geminifusion_service.transport.base64_text import decode_base64

BYTES = "BYTES"
DTYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_MAX_RANK = 8
_LENGTH_BYTES = 4  # before the content of each element of a BYTES tensor
# By the kind of a datatype: JSON's types that it accepts, and the widest datatype, whose range is checked afterwards.
_JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "u": {int}, "i": {int}, "f": {int, float}}
_WIDEST = {"u": "u8", "i": "i8", "f": "f8"}
_MAX_VALUES = 2**40  # beyond any body; the product of a shape that holds a 0 has no other limit
_MAX_FILES = 4096  # in a tensor; beyond any queue


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A named tensor: `array` of the datatype, or for BYTES `elements` in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: NDArray[np.generic] | None = None
    elements: tuple[bytes, ...] = ()


def array_tensor(name: str, array: NDArray[np.generic]) -> Tensor:
    """An array as a tensor of its own datatype."""
    datatype = next(datatype for datatype, dtype in DTYPES.items() if dtype == array.dtype)
    return Tensor(name=name, datatype=datatype, shape=array.shape, array=array)


def bytes_tensor(name: str, elements: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
    """Byte strings as a tensor."""
    return Tensor(name=name, datatype=BYTES, shape=shape, elements=tuple(elements))


def check_shape(name: str, datatype: object, shape: object) -> tuple[str, tuple[int, ...]]:
    """The datatype and shape that a client announced, checked.

    Raises:
        MalformedBodyError: an unknown datatype, or a shape that is no short list of sizes that a request can hold.
        TooLargeError: BYTES of more files than any batch has.
    """
    if not isinstance(datatype, str) or (datatype != BYTES and datatype not in DTYPES):
        raise MalformedBodyError(
            f"the datatype of {name} is {str(datatype)[:50]!r}; expected one of {', '.join([BYTES, *DTYPES])}"
        )
    if isinstance(shape, Sequence) and not 0 < len(shape) <= _MAX_RANK:
        raise MalformedBodyError(f"the shape of {name} has {len(shape)} axes; expected 1 to {_MAX_RANK}")
    if not isinstance(shape, Sequence) or not all(type(size) is int and size >= 0 for size in shape):
        raise MalformedBodyError(f"the shape of {name} is {str(shape)[:100]}; expected a list of sizes, 0 or more")
    count = math.prod(max(1, size) for size in shape)
    if datatype == BYTES and count > _MAX_FILES:
        raise TooLargeError(f"{name} is BYTES of more than {_MAX_FILES} files; send fewer in a request")
    if count > _MAX_VALUES:
        raise MalformedBodyError(f"the shape of {name} has more values than any request holds; send its true sizes")
    return datatype, tuple(shape)


def from_raw(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> Tensor:
    """A tensor from its bytes, of which the array is a view; BYTES elements are copied out.

    Raises:
        MalformedBodyError: the bytes are more or fewer than the shape needs.
    """
    if datatype == BYTES:
        return Tensor(name=name, datatype=BYTES, shape=shape, elements=_split_elements(name, shape, data))
    dtype = DTYPES[datatype]
    expected = math.prod(shape) * dtype.itemsize
    if data.nbytes != expected:
        raise MalformedBodyError(
            f"{name} came as {data.nbytes} bytes, but {datatype} of shape {list(shape)} has {expected}"
        )
    return Tensor(name=name, datatype=datatype, shape=shape, array=np.frombuffer(data, dtype).reshape(shape))


def _split_elements(name: str, shape: tuple[int, ...], data: memoryview) -> tuple[bytes, ...]:
    count, position = math.prod(shape), 0
    if count * _LENGTH_BYTES > data.nbytes:  # before a loop that a client chose the length of
        raise MalformedBodyError(f"{name} of shape {list(shape)} needs {count} elements; {data.nbytes} bytes came")
    elements = []
    for index in range(count):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(data[position:start], "little")
        if start > data.nbytes or position > data.nbytes:
            raise MalformedBodyError(
                f"element {index} of {name} reaches beyond its {data.nbytes} bytes; "
                "each is a little-endian 32-bit length and as many bytes"
            )
        elements.append(bytes(data[start:position]))
    if position != data.nbytes:
        raise MalformedBodyError(
            f"{name} has {data.nbytes - position} bytes after its {count} elements; send what the shape says"
        )
    return tuple(elements)


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: object) -> Tensor:
    """A tensor from JSON: numbers nested as the shape says or in one flat list; BYTES as base64 text.

    Raises:
        MalformedBodyError: values that the datatype does not have, or more or fewer than the shape needs.
    """
    if not isinstance(data, list):
        raise MalformedBodyError(f"the data of {name} is no JSON array; send numbers, or base64 text for BYTES")
    count = math.prod(shape)
    if datatype == BYTES:
        texts = _flattened(data)
        if len(texts) != count:
            raise _wrong_count(name, shape, len(texts))
        return Tensor(
            name=name, datatype=BYTES, shape=shape, elements=tuple(decode_base64(text, name) for text in texts)
        )
    if datatype == "FP16":
        raise MalformedBodyError(f"{name} is FP16, which JSON cannot carry; send it as binary data or as FP32")
    values = _without_nesting(name, shape, data)
    if len(values) != count:
        raise _wrong_count(name, shape, len(values))
    return _array_tensor(name, datatype, shape, values)


def _array_tensor(name: str, datatype: str, shape: tuple[int, ...], values: Sequence[Any]) -> Tensor:
    """A tensor of as many values as its shape has; their types are checked before numpy makes anything of them."""
    dtype = DTYPES[datatype]
    if not _JSON_TYPES[dtype.kind].issuperset(map(type, values)):
        raise MalformedBodyError(f"the data of {name} holds what is no {datatype}")
    widest = np.dtype(_WIDEST.get(dtype.kind, dtype))
    try:
        stored = np.array(values, widest)
    except OverflowError:
        stored = None
    if dtype.kind in "iu" and len(values):
        limits = np.iinfo(dtype.name)
        if stored is None or stored.min() < limits.min or stored.max() > limits.max:
            raise MalformedBodyError(f"the data of {name} leaves {datatype}'s {limits.min} to {limits.max}")
    if stored is None:
        raise MalformedBodyError(f"the data of {name} holds a number that is too long; send one that {datatype} has")
    with np.errstate(over="ignore"):  # beyond the range is infinite, which depth may be
        array = stored.astype(dtype, copy=False).reshape(shape)
    return Tensor(name=name, datatype=datatype, shape=shape, array=array)


def from_values(name: str, datatype: str, shape: tuple[int, ...], values: Sequence[Any]) -> Tensor:
    """A tensor from the typed list of a gRPC message, whose element type protobuf has checked.

    Raises:
        MalformedBodyError: values outside the datatype, or more or fewer than the shape needs.
    """
    if len(values) != math.prod(shape):
        raise _wrong_count(name, shape, len(values))
    if datatype == BYTES:
        return Tensor(name=name, datatype=BYTES, shape=shape, elements=tuple(values))
    return _array_tensor(name, datatype, shape, values)


def to_raw(tensor: Tensor) -> bytes | memoryview:
    """The bytes of a tensor as binary data of the protocol."""
    if tensor.array is None:
        return b"".join(len(element).to_bytes(_LENGTH_BYTES, "little") + element for element in tensor.elements)
    little_endian = tensor.array.astype(DTYPES[tensor.datatype], copy=False)
    return np.ascontiguousarray(little_endian).reshape(-1).view(np.uint8).data


def to_json(tensor: Tensor) -> list[Any]:
    """The values in one flat list; BYTES as base64 text."""
    if tensor.array is None:
        return [base64.b64encode(element).decode("ascii") for element in tensor.elements]
    values: list[Any] = tensor.array.ravel().tolist()
    return values


def _flattened(data: list[Any]) -> list[Any]:
    """The data without one level of nesting, which is all that a tensor of files has."""
    flat: list[Any] = []
    for entry in data:
        flat.extend(entry) if isinstance(entry, list) else flat.append(entry)
    return flat


def _without_nesting(name: str, shape: tuple[int, ...], data: list[Any]) -> list[Any]:
    """The values of one flat list, or of lists nested as the shape says."""
    if not data or type(data[0]) is not list:
        return data  # one that holds a list further on is found by its type
    level = data
    if len(level) == shape[0]:
        for size in shape[1:]:
            if not {list}.issuperset(map(type, level)) or not {size}.issuperset(map(len, level)):
                break
            level = list(chain.from_iterable(level))
        else:
            return level
    raise MalformedBodyError(f"the data of {name} is not nested as its shape {list(shape)}; send what the shape says")


def _wrong_count(name: str, shape: tuple[int, ...], count: int) -> MalformedBodyError:
    return MalformedBodyError(f"{name} has {count} values, but shape {list(shape)} has {math.prod(shape)}")
