"""A process that decodes, which `ProcessDecoderPool` starts and talks to.

    python -m geminifusion_service.isolation.decoder_process CONNECTION MEMORY

Both arguments are inherited file descriptors: a socket for short JSON messages and memory for files and arrays. A
message places the files of one request; the response places the decoded arrays, or says what is wrong with a file.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from geminifusion_runtime.allocator import keep_freed_memory
from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.decode import decode_modality
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import public_error
from geminifusion_service.isolation.shared_arrays import SharedArrays, end_offset
from geminifusion_service.isolation.worker_main import run_worker

_NICENESS = 10  # the event loop goes first: rejections and finished responses do not wait for others' images
_KEPT_BYTES = 64 * 2**20  # of freed memory, for the next image

_log = logging.getLogger(__name__)

_spec = functools.lru_cache(maxsize=64)(TypeAdapter(ModalitySpec).validate_json)


def decode(memory: SharedArrays, message: dict[str, Any]) -> dict[str, Any]:
    """Decode the files of one message; its response."""
    files = memory.read(message["inputs"])
    results: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[np.generic]] = {}
    for index, (spec, its_options) in enumerate(zip(message["specs"], message["modality_options"], strict=True)):
        try:
            image = decode_modality(
                files[str(index)].tobytes(), _spec(spec), may_hold_gil=True, **its_options, **message["options"]
            )
        except Exception as error:
            if not isinstance(error, GeminiFusionError):
                _log.exception("decoding failed")
            public = public_error(error)
            results.append({"code": public.code, "message": str(public)})
            continue
        arrays[str(index)] = image.array
        results.append({"array": str(index), "health": asdict(image.health), "warnings": image.warnings})
    # Behind the files, of which arrays may be views.
    outputs = memory.write(arrays, start=max(end_offset(place) for place in message["inputs"]))
    return {"results": results, "outputs": outputs}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s decoding process: %(message)s")
    cv2.setNumThreads(1)
    os.nice(_NICENESS)
    keep_freed_memory(_KEPT_BYTES)
    run_worker(int(sys.argv[1]), functools.partial(decode, SharedArrays(int(sys.argv[2]))))
