"""The server's end of a process that works for it: short JSON messages over a socket, arrays in shared memory."""

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

from geminifusion_service.isolation.shared_arrays import SharedArrays, open_shared_memory


class ChildLostError(Exception):
    """No answer came from the process."""


class ChildProcess:
    """A process that runs `module` and answers one message after the other.

    The module's side is `processes.parent`. Use from one thread at a time, but for `stop`.

    Args:
        module: run as `python -m module CONNECTION MEMORY`, both inherited file descriptors.
        answer_s: longest to wait for an answer; None waits for ever.
    """

    def __init__(self, module: str, *, answer_s: float | None = None) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(answer_s)
        self._lines = self._socket.makefile("rb")
        memory = open_shared_memory()
        self._memory = SharedArrays(memory)
        self._using = threading.Lock()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own module, and two numbers
                [sys.executable, "-m", module, str(theirs.fileno()), str(memory)],
                pass_fds=(theirs.fileno(), memory),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                process_group=0,  # a Ctrl-C at the terminal is for the server, which drains first
            )

    def wait_for_answers(self, answer_s: float | None) -> None:
        """Wait longer or shorter from now on."""
        self._socket.settimeout(answer_s)

    def ask(
        self, message: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]] | None = None
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
        """Send a message with arrays, whose places it gets as `inputs`; the answer, and copies of its `outputs`.

        Raises:
            ChildLostError: the process died, was stopped, or did not answer in time.
        """
        with self._using:
            if self._lines.closed:
                raise ChildLostError
            places = self._memory.write(arrays or {})
            try:
                self._socket.sendall(json.dumps({**message, "inputs": places}).encode() + b"\n")
                line = self._lines.readline()
            except OSError:  # TimeoutError among them
                raise ChildLostError from None
            if not line.endswith(b"\n"):
                raise ChildLostError
            answer: dict[str, Any] = json.loads(line)
            # Copies: the next message's arrays are written over them.
            outputs = {name: array.copy() for name, array in self._memory.read(answer.get("outputs", [])).items()}
            self._memory.keep_small()
            return answer, outputs

    def stop(self) -> None:
        """End the process, if it has not ended, and give everything back; whoever waits for an answer fails first."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with self._using:
            if not self._lines.closed:
                self._lines.close()
                self._socket.close()
                self._memory.close()


def ending(status: int) -> str:
    """An exit status in words."""
    return f"signal {-status}" if status < 0 else f"status {status}"


def _has_descriptor(stream: object) -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.fstat(stream.fileno()) is not None  # type: ignore[attr-defined]
    return False
