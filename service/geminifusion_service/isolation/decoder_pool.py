"""Who decodes: the thread that asks, or a process for each thread."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Mapping, Sequence
from queue import LifoQueue
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.decode import Reading, read_modality
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.types import SensorHealth
from geminifusion_service.errors import ERRORS, DecoderLostError, InternalError, NotReadyError
from geminifusion_service.isolation.worker_client import ChildLostError, ChildProcess

_log = logging.getLogger(__name__)

_ANSWER_S = 60.0  # decoding the largest image takes about a second
_SPEC = TypeAdapter(ModalitySpec)


class Posted(NamedTuple):
    """One image of a request: an encoded file, or an array that is decoded already."""

    spec: ModalitySpec
    data: bytes | NDArray[np.generic]


class ReadingOptions(TypedDict):
    """What a request and the server say about reading it; see `read_modality`."""

    max_pixels: int
    depth_scale: float | None
    depth_invalid: Sequence[float]


class Readers(Protocol):
    """Reads the images of a request; called from several threads."""

    def read(self, images: Sequence[Posted], options: ReadingOptions) -> list[Reading | Exception]:
        """For each image what it holds, or what is wrong with it."""
        ...

    def start(self) -> None:
        """Get ready."""
        ...

    def close(self) -> None:
        """Give everything back; who is still reading gets errors."""
        ...


class ThreadReaders:
    """Decodes where it is called. The decoders release Python's lock, the steps between them need it."""

    def read(self, images: Sequence[Posted], options: ReadingOptions) -> list[Reading | Exception]:
        """See `Readers`."""
        return [_read_here(image, options) for image in images]

    def start(self) -> None:
        """See `Readers`."""

    def close(self) -> None:
        """See `Readers`."""


class ProcessReaders:
    """Hands encoded images to processes, which share no lock with the server and nothing to attack in it.

    A process that dies is replaced, and what it was reading is tried once more; images that end two processes are
    refused.

    Args:
        count: processes; as many threads may read at once, others wait.
    """

    def __init__(self, count: int) -> None:
        self._idle: LifoQueue[ChildProcess | None] = (
            LifoQueue()
        )  # None: to be started; the last one used has warm caches
        for _ in range(count):
            self._idle.put(None)
        self._children: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Start all processes; they load while the server does."""
        for child in [self._start() for _ in [self._idle.get() for _ in range(self._idle.qsize())]]:
            self._idle.put(child)

    @property
    def process_ids(self) -> list[int]:
        """Of the processes that run now."""
        with self._lock:
            return [child.process.pid for child in self._children]

    def read(self, images: Sequence[Posted], options: ReadingOptions) -> list[Reading | Exception]:
        """See `Readers`. Arrays, and what is empty, are read here."""
        encoded = [image for image in images if isinstance(image.data, bytes) and image.data]
        if not encoded:
            return [_read_here(image, options) for image in images]
        try:
            found = dict(zip([id(image) for image in encoded], self._read_there(encoded, options), strict=True))
        except GeminiFusionError as error:
            found = {id(image): error for image in encoded}
        return [found[id(image)] if id(image) in found else _read_here(image, options) for image in images]

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._closed = True
            children = list(self._children)
            self._children.clear()
        for child in children:
            child.stop()

    def _read_there(self, images: Sequence[Posted], options: ReadingOptions) -> list[Reading | Exception]:
        message = {"specs": [_as_json(image.spec) for image in images], "options": options}
        files = {str(index): np.frombuffer(image.data, np.uint8) for index, image in enumerate(images)}
        child = self._idle.get()
        try:
            for _ in range(2):
                child = child or self._start()
                try:
                    answer, arrays = child.ask(message, files)
                    return [_result(found, arrays) for found in answer["found"]]
                except ChildLostError:
                    self._lose(child)
                    child = None
        finally:
            self._idle.put(child)
        raise DecoderLostError("the process that decoded these images died twice; send undamaged files, or try later")

    def _start(self) -> ChildProcess:
        with self._lock:
            if self._closed:
                raise NotReadyError("the server stopped before this request was decoded; send it again")
            child = ChildProcess("geminifusion_service.isolation.decoder_process", answer_s=_ANSWER_S)
            self._children.add(child)
            return child

    def _lose(self, child: ChildProcess) -> None:
        child.stop()
        with self._lock:
            self._children.discard(child)
            if not self._closed:
                _log.error("decoding process %d died; another is started", child.process.pid)


@functools.lru_cache(maxsize=64)
def _as_json(spec: ModalitySpec) -> str:
    return _SPEC.dump_json(spec).decode()


def _read_here(image: Posted, options: ReadingOptions) -> Reading | Exception:
    try:
        return read_modality(image.data, image.spec, **options)
    except Exception as error:
        return error


def _result(found: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Reading | Exception:
    if "code" in found:
        return ERRORS.get(found["code"], InternalError)(found["message"])
    return Reading(
        array=arrays[found["array"]], health=SensorHealth(**found["health"]), warnings=tuple(found["warnings"])
    )
