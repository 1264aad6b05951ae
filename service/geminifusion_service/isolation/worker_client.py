"""The server's end of a worker process: short JSON messages over a socket, arrays in shared memory."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_service.isolation.shared_arrays import KEPT_BYTES, SharedArrays, open_shared_memory


class WorkerLostError(Exception):
    """No response came from the worker process."""


class WorkerTimeoutError(WorkerLostError):
    """No response came in time; the process may still be at work, and is of no use any more."""


class WorkerProcess:
    """A process that runs `module` and responds to one message after the other.

    The module's side is `worker_main`. Use from one thread at a time, except for `stop`.

    Args:
        module: run as `python -m module CONNECTION MEMORY`, both inherited file descriptors.
        arguments: further ones.
        timeout_s: longest to wait for a response; None waits for ever.
        kept_bytes: of the shared memory; see `SharedArrays`.

    Attributes:
        has_responded: whether it has started: its first response takes as long as its imports.
    """

    def __init__(
        self, module: str, *arguments: str, timeout_s: float | None = None, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(timeout_s)
        self._lines = self._socket.makefile("rb")
        memory = open_shared_memory()
        self._memory = SharedArrays(memory, kept_bytes=kept_bytes)
        self._using = threading.Lock()
        self.has_responded = False
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own module, and our numbers
                [sys.executable, "-m", module, str(theirs.fileno()), str(memory), *arguments],
                pass_fds=(theirs.fileno(), memory),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                # Libraries in Rust may hang while they print how they ran out of memory.
                env=os.environ | {"RUST_BACKTRACE": "0"},
                process_group=0,  # a Ctrl-C at the terminal is for the server, which drains first
            )

    def set_timeout(self, timeout_s: float | None) -> None:
        """Wait longer or shorter for responses from now on."""
        self._socket.settimeout(timeout_s)

    def request(
        self,
        message: Mapping[str, Any],
        arrays: Mapping[str, NDArray[np.generic]] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
        """Send a message, with the places of `arrays` as its `inputs`.

        Args:
            timeout_s: longest to wait for the response; None for what was set for all.

        Returns:
            The response, and copies of the arrays that its `outputs` place.

        Raises:
            WorkerTimeoutError: it did not respond in time.
            WorkerLostError: the process died or was stopped.
        """
        with self._using:
            if self._lines.closed:
                raise WorkerLostError
            if timeout_s is not None:
                self._socket.settimeout(timeout_s)
            places = self._memory.write(arrays or {})
            try:
                self._socket.sendall(json.dumps({**message, "inputs": places}).encode() + b"\n")
                line = self._lines.readline()
            except TimeoutError:
                raise WorkerTimeoutError from None
            except OSError:
                raise WorkerLostError from None
            if not line.endswith(b"\n"):
                raise WorkerLostError
            self.has_responded = True
            response: dict[str, Any] = json.loads(line)
            # Copies: the next message's arrays are written over them.
            outputs = {name: array.copy() for name, array in self._memory.read(response.get("outputs", [])).items()}
            self._memory.trim()
            return response, outputs

    def stop(self) -> None:
        """End the process, if it has not ended, and release its memory; a request in progress fails first."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with self._using:
            if not self._lines.closed:
                self._lines.close()
                self._socket.close()
                self._memory.close()


def exit_description(status: int) -> str:
    """An exit status in words."""
    return f"signal {-status}" if status < 0 else f"status {status}"


def _has_descriptor(stream: object) -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.fstat(stream.fileno()) is not None  # type: ignore[attr-defined]
    return False
