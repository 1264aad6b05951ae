"""The process of one engine, which `ProcessBackend` starts and talks to.

    python -m geminifusion_service.isolation.engine_process CONNECTION MEMORY

Both arguments are inherited file descriptors: a socket for short JSON messages and memory for the images. The first
message says what to load; its response comes once that is verified, loaded and warm. Each further message is a batch.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from geminifusion_runtime.artifact import open_artifact
from geminifusion_runtime.backends.protocol import Backend
from geminifusion_runtime.devices import pin_to_cores
from geminifusion_runtime.tasks.registry import open_task
from geminifusion_service.isolation.process_backend import WorkerConfig
from geminifusion_service.isolation.shared_arrays import SharedArrays, end_offset
from geminifusion_service.isolation.worker_main import run_worker

_log = logging.getLogger(__name__)


class EngineWorker:
    """Handles the messages of the server: one configuration, then batches."""

    def __init__(self, memory: SharedArrays) -> None:
        self._memory = memory
        self._backend: Backend | None = None

    def handle(self, message: dict[str, Any]) -> dict[str, Any]:
        """Load what the message configures, or run the batch it places."""
        if self._backend is not None:
            return _run(self._backend, self._memory, message)
        try:
            self._backend, reason = _open(WorkerConfig.from_message(message["config"]))
        except (RuntimeError, ValueError, OSError) as error:
            return {"failed": str(error)}
        return {"ready": self._backend.name, "reason": reason}


def _open(config: WorkerConfig) -> tuple[Backend, str]:
    pin_to_cores(config.device.cores)
    metadata = open_artifact(config.directory, trusted_keys=config.trusted_keys)
    chosen = config.open_backend(metadata)
    chosen.backend.run(open_task(metadata).blank_batch())
    return chosen.backend, chosen.reason


def _run(backend: Backend, memory: SharedArrays, request: dict[str, Any]) -> dict[str, Any]:
    try:
        outputs = backend.run(memory.read(request["inputs"]))
    except Exception as error:
        _log.exception("the runtime failed")
        return {"failed": f"{type(error).__name__}: {error}"}
    # Behind the inputs, of which a runtime may have returned views.
    start = max(end_offset(place) for place in request["inputs"])
    return {"outputs": memory.write(outputs, start=start)}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s engine process: %(message)s")
    run_worker(int(sys.argv[1]), EngineWorker(SharedArrays(int(sys.argv[2]))).handle)
