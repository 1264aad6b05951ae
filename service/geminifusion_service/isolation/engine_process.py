"""The process of one engine: what `IsolatedBackend` starts and talks to.

    python -m geminifusion_service.isolation.engine_process CONNECTION MEMORY

Both arguments are inherited file descriptors: a socket for short JSON messages and memory for the images. The first
message says what to load and is answered once that is verified, loaded and warm; each further one is a batch.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from geminifusion_runtime.artifact import open_artifact
from geminifusion_runtime.backends.protocol import Backend
from geminifusion_runtime.backends.selection import open_backend
from geminifusion_runtime.devices import Device, keep_to
from geminifusion_runtime.dummy_inputs import blank_inputs
from geminifusion_service.isolation.shared_arrays import SharedArrays, end_of
from geminifusion_service.isolation.worker_main import answer_parent

_log = logging.getLogger(__name__)


class Engine:
    """What answers the parent: one order, then batches."""

    def __init__(self, memory: SharedArrays) -> None:
        self._memory = memory
        self._backend: Backend | None = None

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Load what the message orders, or run the batch it places."""
        if self._backend is not None:
            return _run(self._backend, self._memory, message)
        try:
            self._backend, reason = _open(message["order"])
        except (RuntimeError, ValueError, OSError) as error:
            return {"failed": str(error)}
        return {"ready": self._backend.name, "reason": reason}


def _open(order: dict[str, Any]) -> tuple[Backend, str]:
    device = Device(**{**order["device"], "cores": tuple(order["device"]["cores"])})
    keep_to(device.cores)
    directory = Path(order["directory"])
    metadata = open_artifact(directory)
    chosen = open_backend(
        directory,
        metadata,
        wanted=order["wanted"],
        threads=order["threads"],
        custom_ops=Path(order["custom_ops"]) if order["custom_ops"] else None,
        device=device,
    )
    chosen.backend.run(blank_inputs(metadata.modalities, (1, *metadata.size.reference)))
    return chosen.backend, chosen.reason


def _run(backend: Backend, memory: SharedArrays, request: dict[str, Any]) -> dict[str, Any]:
    try:
        outputs = backend.run(memory.read(request["inputs"]))
    except Exception as error:
        _log.exception("the runtime failed")
        return {"failed": f"{type(error).__name__}: {error}"}
    # Behind the inputs, which a runtime may have answered with views of.
    start = max(end_of(place) for place in request["inputs"])
    arrays: dict[str, NDArray[Any]] = {"labels": outputs.labels, "confidence": outputs.confidence, "gate": outputs.gate}
    return {"outputs": memory.write(arrays, start=start)}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s engine process: %(message)s")
    answer_parent(int(sys.argv[1]), Engine(SharedArrays(int(sys.argv[2]))).answer)
