"""The process of one engine: what `IsolatedBackend` starts and talks to.

    python -m geminifusion_service.engine.worker_process CONNECTION MEMORY

Both arguments are inherited file descriptors: a socket for short JSON messages and memory for the images. It answers
`ready` once the artifact is verified, loaded and warm, then one message for each batch, and ends with its parent.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.artifact import ArtifactMetadata, open_artifact
from geminifusion_service.backends.protocol import Backend
from geminifusion_service.backends.selection import open_backend
from geminifusion_service.engine.devices import Device, keep_to
from geminifusion_service.engine.shared_arrays import SharedArrays, end_of

_log = logging.getLogger(__name__)


def main(connection_descriptor: int, memory_descriptor: int) -> None:
    """Serve one parent until it closes the connection or is gone."""
    # The parent decides when to stop, after it has finished what it accepted.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(connection_descriptor,), daemon=True).start()
    connection = Connection(connection_descriptor)
    memory = SharedArrays(memory_descriptor)
    try:
        backend, reason = _open(json.loads(connection.recv_bytes()))
    except (RuntimeError, ValueError, OSError) as error:
        _send(connection, {"failed": str(error)})
        return
    _send(connection, {"ready": backend.name, "reason": reason})
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        _send(connection, _run(backend, memory, request))


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
    chosen.backend.run(_blank(metadata))
    return chosen.backend, chosen.reason


def _blank(metadata: ArtifactMetadata) -> dict[str, NDArray[np.generic]]:
    height, width = metadata.size.reference
    return {
        spec.name: np.ones((1, height, width, 3) if spec.channels == 3 else (1, height, width), spec.dtype)
        for spec in metadata.modalities
    }


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


def _send(connection: Connection, message: dict[str, Any]) -> None:
    try:
        connection.send_bytes(json.dumps(message).encode())
    except OSError:
        os._exit(1)  # the parent is gone


def _end_with_parent(descriptor: int) -> None:
    """Leave as soon as the other end of the connection closes, also in the middle of a run that takes for ever."""
    hangup = select.poll()
    hangup.register(descriptor, 0)  # POLLHUP and POLLERR are always reported
    hangup.poll()
    os._exit(0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s engine process: %(message)s")
    main(int(sys.argv[1]), int(sys.argv[2]))
