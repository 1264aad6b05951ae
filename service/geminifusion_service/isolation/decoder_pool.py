"""Decoders of the images of requests: in the calling thread, or in a process for each of several threads."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from queue import LifoQueue
from typing import Any, Final, NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.decoding.decode import MAX_HHA_PIXELS, DecodedImage
from geminifusion_runtime.errors import GeminiFusionError, UndecodableImageError
from geminifusion_runtime.option_types import ModalityOptions
from geminifusion_runtime.tasks.parts import PART_SPECS, PartSpec, decode_part
from geminifusion_runtime.types import SensorHealth
from geminifusion_service.errors import (
    ERRORS,
    DeadlineExceededError,
    DecoderLostError,
    InternalError,
    NotReadyError,
)
from geminifusion_service.isolation.process_limits import CPU_SIGNAL
from geminifusion_service.isolation.worker_client import (
    WorkerLostError,
    WorkerProcess,
    WorkerTimeoutError,
    exit_description,
)

_log = logging.getLogger(__name__)

DECODER_MODULE: Final = "geminifusion_service.isolation.decoder_process"
_CPU_S = 20.0  # of the images of one message; the largest that are served take about two seconds
_TIMEOUT_S = 60.0  # where there is no deadline; longer than that, as others want the processor too
_LEAST_S = 1.0  # of decoding: a new process costs more than letting an ordinary image be finished for nobody
_BYTES_PER_PIXEL = 36  # of the costliest decoder (three channels of 16 bits), and of the decoded array
_BYTES_PER_HHA_PIXEL = 256  # where HHA is computed from depth
_SHARED_BYTES = 24 * 2**20  # kept in memory for the files and arrays of the next images: a pair of full HD
_LIBRARIES_BYTES = 256 * 2**20  # for everything whose size no image decides


class EncodedPart(NamedTuple):
    """One part of a request as it came: an encoded file, or an array that its transport has decoded already.

    Attributes:
        spec: the input of the model that it is for.
        data: the file, or the array.
        options: of this modality.
    """

    spec: PartSpec
    data: bytes | NDArray[np.generic]
    options: ModalityOptions = ModalityOptions()


class DecodeOptions(TypedDict):
    """Options and limits that hold for all images of a request; see `decode_part`."""

    max_pixels: int
    intrinsics: Sequence[float] | None


class DecoderPool(Protocol):
    """Decodes the images of a request; called from several threads."""

    def start(self) -> None:
        """Get ready."""
        ...

    def decode(
        self, images: Sequence[EncodedPart], options: DecodeOptions, *, deadline: float | None = None
    ) -> list[DecodedImage | Exception]:
        """Decode images, in order; an exception in the place of an image says what is wrong with it.

        Args:
            deadline: in seconds of `time.monotonic`; not much longer than until then, if decoding can be stopped.
        """
        ...

    def close(self) -> None:
        """Release everything; calls in progress get errors."""
        ...


class ThreadDecoderPool:
    """Decodes in the calling thread. The decoders release the GIL, the steps between them need it.

    Nothing can stop a decoder in a thread; what bounds its time is what headers are checked for.
    """

    def start(self) -> None:
        """See `DecoderPool`."""

    def decode(
        self, images: Sequence[EncodedPart], options: DecodeOptions, *, deadline: float | None = None
    ) -> list[DecodedImage | Exception]:
        """See `DecoderPool`."""
        return [_too_late() if _is_over(deadline) else _decode_here(image, options) for image in images]

    def close(self) -> None:
        """See `DecoderPool`."""


class ProcessDecoderPool:
    """Hands encoded images to processes, which share no GIL with the server and hold nothing worth attacking.

    A process that dies is replaced, and its images are tried once more; images that end two processes are rejected. One
    that is still decoding at the deadline, and has been for a second, or has used its processor time, is ended and
    replaced, and its images are rejected at once.

    Args:
        count: processes; as many threads may decode at once, others wait.
        max_bytes: memory that decoding may take in each; see `decoding_memory`.
        max_cpu_s: processor time that decoding the images of a request may take.
    """

    def __init__(self, count: int, *, max_bytes: int, max_cpu_s: float = _CPU_S) -> None:
        self._max_bytes = max_bytes
        self._max_cpu_s = max_cpu_s
        # None: yet to be started. Last in, first out: the process used last has warm caches.
        self._idle: LifoQueue[WorkerProcess | None] = LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._count = count
        self._workers: set[WorkerProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def process_ids(self) -> list[int]:
        """Ids of the processes that run now."""
        with self._lock:
            return [worker.process.pid for worker in self._workers]

    def start(self) -> None:
        """Start all processes; they load while the server does. Call it before the first `decode`."""
        for _ in range(self._count):
            self._idle.get()
        for worker in [self._start_worker() for _ in range(self._count)]:
            self._idle.put(worker)

    def decode(
        self, images: Sequence[EncodedPart], options: DecodeOptions, *, deadline: float | None = None
    ) -> list[DecodedImage | Exception]:
        """See `DecoderPool`. Arrays, and what is empty, are handled in the calling thread."""
        encoded = [image for image in images if isinstance(image.data, bytes) and image.data]
        if not encoded:
            return [_decode_here(image, options) for image in images]
        try:
            results = iter(self._decode_in_process(encoded, options, deadline))
        except GeminiFusionError as error:
            results = iter([error] * len(encoded))
        return [
            next(results) if isinstance(image.data, bytes) and image.data else _decode_here(image, options)
            for image in images
        ]

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._closed = True
            workers = list(self._workers)
            self._workers.clear()
        for worker in workers:
            worker.stop()

    def _decode_in_process(
        self, images: Sequence[EncodedPart], options: DecodeOptions, deadline: float | None
    ) -> list[DecodedImage | Exception]:
        message = {
            "specs": [_as_json(image.spec) for image in images],
            "modality_options": [image.options._asdict() for image in images],
            "options": options,
        }
        files = {str(index): np.frombuffer(image.data, np.uint8) for index, image in enumerate(images)}
        worker = self._idle.get()
        try:
            for _ in range(2):
                if _is_over(deadline):
                    raise _too_late()
                worker = worker or self._start_worker()
                timeout_s = _TIMEOUT_S
                if deadline is not None and worker.has_responded:  # else it would be ended while it starts, for ever
                    timeout_s = max(_LEAST_S, deadline - time.monotonic())
                try:
                    response, arrays = worker.request(message, files, timeout_s=timeout_s)
                    return [_image_or_error(result, arrays) for result in response["results"]]
                except WorkerLostError as error:
                    lost, worker = worker, None
                    self._discard(lost)
                    worker = self._start_worker()  # it loads while the images are rejected
                    _raise_if_stopped(lost, error, deadline, self._max_cpu_s)
        finally:
            self._idle.put(worker)
        raise DecoderLostError("the process that decoded these images died twice; send undamaged files, or try later")

    def _start_worker(self) -> WorkerProcess:
        with self._lock:
            if self._closed:
                raise NotReadyError("the server stopped before this request was decoded; send it again")
            limits = (self._max_bytes, self._max_cpu_s, _SHARED_BYTES)
            worker = WorkerProcess(DECODER_MODULE, *map(str, limits), kept_bytes=_SHARED_BYTES)
            self._workers.add(worker)
            return worker

    def _discard(self, worker: WorkerProcess) -> None:
        worker.stop()
        with self._lock:
            self._workers.discard(worker)
            if not self._closed:
                _log.error(
                    "decoding process %d died or was ended (%s); another is started",
                    worker.process.pid,
                    exit_description(worker.process.returncode),
                )


def decoding_memory(*, max_pixels: int, max_body_bytes: int) -> int:
    """Bytes that a decoding process needs for any request within these limits, beyond what it has when it starts."""
    largest = max(_BYTES_PER_PIXEL * max_pixels, _BYTES_PER_HHA_PIXEL * min(max_pixels, MAX_HHA_PIXELS))
    return largest + 2 * max_body_bytes + _LIBRARIES_BYTES


def _raise_if_stopped(worker: WorkerProcess, error: WorkerLostError, deadline: float | None, max_cpu_s: float) -> None:
    """Reject images whose process did not die by itself: another one would take as long."""
    if worker.process.returncode == -CPU_SIGNAL:
        raise UndecodableImageError(
            f"these images took more than {max_cpu_s:g} s of processor time to decode; "
            "save them again as baseline JPEG or PNG"
        )
    if isinstance(error, WorkerTimeoutError):
        if deadline is not None:
            raise _too_late()
        raise DecoderLostError(
            f"these images were not decoded within {_TIMEOUT_S:g} s; send smaller ones, or try later"
        )


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the deadline passed before the images were decoded; allow more time")


@functools.lru_cache(maxsize=64)
def _as_json(spec: PartSpec) -> str:
    return PART_SPECS.dump_json(spec).decode()


def _decode_here(image: EncodedPart, options: DecodeOptions) -> DecodedImage | Exception:
    try:
        return decode_part(image.data, image.spec, **image.options._asdict(), **options)
    except Exception as error:
        return error


def _image_or_error(result: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> DecodedImage | Exception:
    if "code" in result:
        return ERRORS.get(result["code"], InternalError)(result["message"])
    return DecodedImage(
        array=arrays[result["array"]], health=SensorHealth(**result["health"]), warnings=tuple(result["warnings"])
    )
