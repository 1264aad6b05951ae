"""A process that decodes, which `ProcessDecoderPool` starts and talks to.

    python -m geminifusion_service.isolation.decoder_process CONNECTION MEMORY MAX_BYTES MAX_CPU_S KEPT_BYTES

The first two arguments are inherited file descriptors: a socket for short JSON messages and memory for files and
arrays. A message places the files of one request; the response places the decoded arrays, or says what is wrong with a
file. The others are what decoding may take, memory and processor time for each message, and what is kept of the shared
memory.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from typing import Any

import cv2

from geminifusion_runtime.allocator import keep_freed_memory
from geminifusion_runtime.decoding.image_headers import declared_pixels
from geminifusion_runtime.errors import GeminiFusionError, ImageTooLargeError
from geminifusion_runtime.tasks.parts import PART_SPECS, decode_part
from geminifusion_service.errors import public_error
from geminifusion_service.isolation.process_limits import allow_cpu, allow_memory, forbid_core_dumps, memory_left
from geminifusion_service.isolation.shared_arrays import ArrayPlace, SharedArrays, end_offset
from geminifusion_service.isolation.worker_main import run_worker

_NICENESS = 10  # the event loop goes first: rejections and finished responses do not wait for others' images
_BYTES_PER_PIXEL = 22  # at most: of three channels of 16 bits
_KEPT_BYTES = 16 * 2**20  # of freed memory, for the next image

_log = logging.getLogger(__name__)

_spec = functools.lru_cache(maxsize=64)(PART_SPECS.validate_json)


def decode(memory: SharedArrays, max_cpu_s: float, message: dict[str, Any]) -> dict[str, Any]:
    """Decode the files of one message; its response."""
    allow_cpu(max_cpu_s)
    memory.unmap_surplus()
    try:
        return _decode(memory, message)
    except (MemoryError, OSError):  # OSError from mapping the shared memory
        error = _out_of_memory("the images of this request together need")
        return {"results": [{"code": error.code, "message": str(error)} for _ in message["specs"]], "outputs": []}


def _decode(memory: SharedArrays, message: dict[str, Any]) -> dict[str, Any]:
    files = memory.read(message["inputs"])
    # Behind the files. Each array is written on its own, so that one that cannot be is told of like a bad file.
    end = max(end_offset(place) for place in message["inputs"])
    results: list[dict[str, Any]] = []
    outputs: list[ArrayPlace] = []
    for index, (spec, its_options) in enumerate(zip(message["specs"], message["modality_options"], strict=True)):
        name = str(index)
        try:
            data = files[name].tobytes()
            # Asked first, because not every library survives an allocation that fails.
            needed = declared_pixels(data) * _BYTES_PER_PIXEL
            if needed > _KEPT_BYTES and needed > memory_left():
                raise MemoryError
            image = decode_part(data, _spec(spec), may_hold_gil=True, **its_options, **message["options"])
            (place,) = memory.write({name: image.array}, start=end)
            results.append({"array": name, "health": vars(image.health), "warnings": image.warnings})
        except Exception as error:
            if isinstance(error, (MemoryError, OSError)):  # OSError from mapping the shared memory
                error = _out_of_memory(f"{_spec(spec).name} needs")
            if not isinstance(error, GeminiFusionError):
                _log.exception("decoding failed")
            public = public_error(error)
            results.append({"code": public.code, "message": str(public)})
            continue
        outputs.append(place)
        end = end_offset(place)
    return {"results": results, "outputs": outputs}


def _out_of_memory(what: str) -> ImageTooLargeError:
    return ImageTooLargeError(f"{what} more memory to decode than this server allows; send smaller images")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s decoding process: %(message)s")
    cv2.setNumThreads(1)
    os.nice(_NICENESS)
    keep_freed_memory(_KEPT_BYTES)
    forbid_core_dumps()
    allow_memory(int(sys.argv[3]))
    memory = SharedArrays(int(sys.argv[2]), kept_bytes=int(sys.argv[5]))
    run_worker(int(sys.argv[1]), functools.partial(decode, memory, float(sys.argv[4])))
