"""Arrays in memory that two processes share: megabytes change hands without being copied through a pipe.

The memory is an anonymous file, so nothing is left behind when a process is killed.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

_ALIGNMENT = 64  # bytes of a cache line, and enough for vector loads
KEPT_BYTES = 64 * 2**20


class ArrayPlace(TypedDict):
    """Position of one array in the memory; JSON-ready."""

    name: str
    dtype: str
    shape: list[int]
    offset: int


def open_shared_memory() -> int:
    """A file descriptor of empty, anonymous memory, for `SharedArrays` here and in another process."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("geminifusion")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class SharedArrays:
    """One side's view of the memory. The two sides take turns writing, as their messages tell them to.

    Args:
        descriptor: of `open_shared_memory`.
        kept_bytes: to keep for the next arrays; an unusually large image takes more for as long as it is worked on.
    """

    def __init__(self, descriptor: int, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._descriptor = descriptor
        self._kept_bytes = -(-kept_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map: mmap.mmap | None = None

    def write(self, arrays: Mapping[str, NDArray[np.generic]], *, start: int = 0) -> list[ArrayPlace]:
        """Copy arrays into the memory from offset `start` on; it grows as needed.

        Returns:
            The place of each array.
        """
        places: list[ArrayPlace] = []
        offset = start
        for name, array in arrays.items():
            offset = -(-offset // _ALIGNMENT) * _ALIGNMENT
            places.append(ArrayPlace(name=name, dtype=array.dtype.str, shape=list(array.shape), offset=offset))
            offset += array.nbytes
        self._map_at_least(offset)
        for place in places:
            np.copyto(self._view(place), arrays[place["name"]])
        return places

    def read(self, places: list[ArrayPlace]) -> dict[str, NDArray[np.generic]]:
        """Views of what the other side wrote; they change when it writes again."""
        self._map_at_least(max((end_offset(place) for place in places), default=0))
        return {place["name"]: self._view(place) for place in places}

    def trim(self) -> None:
        """Give the system back what lies beyond `kept_bytes`, which an unusually large image leaves behind.

        Call it when nobody needs the arrays there; the maps of both sides stay as they are.
        """
        if self._map is not None and len(self._map) > self._kept_bytes and hasattr(mmap, "MADV_REMOVE"):
            self._map.madvise(mmap.MADV_REMOVE, self._kept_bytes)

    def unmap_surplus(self) -> None:
        """Keep no more than `kept_bytes` mapped, once the last view is gone; what is needed is mapped again."""
        if self._map is not None and len(self._map) > self._kept_bytes:
            self._map = None

    def close(self) -> None:
        """Release the memory once the last view is gone."""
        self._map = None
        os.close(self._descriptor)

    def _map_at_least(self, size: int) -> None:
        if self._map is not None and len(self._map) >= size:
            return
        size = max(size, mmap.PAGESIZE)
        if os.fstat(self._descriptor).st_size < size:
            os.ftruncate(self._descriptor, size)
        # Not all of a file that an unusually large image has made long: what is mapped counts against a limit.
        length = max(size, min(os.fstat(self._descriptor).st_size, self._kept_bytes))
        # The old map is unmapped when the last view of it goes; closing it here would raise while there is one.
        self._map = mmap.mmap(self._descriptor, length)

    def _view(self, place: ArrayPlace) -> NDArray[np.generic]:
        assert self._map is not None
        count = math.prod(place["shape"])
        flat = np.frombuffer(self._map, dtype=np.dtype(place["dtype"]), count=count, offset=place["offset"])
        return flat.reshape(place["shape"])


def end_offset(place: ArrayPlace) -> int:
    """Offset of the first byte after an array."""
    return place["offset"] + math.prod(place["shape"]) * np.dtype(place["dtype"]).itemsize
