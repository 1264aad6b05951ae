"""`geminifusion serve` as a child process: start it, wait until it is ready, stop it without a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_TAIL_LINES = 20


class ServerFailed(RuntimeError):
    """The server ended, or was not ready in time; the message ends with the last lines of its log."""


class ServerProcess:
    """A running server and the log it writes; leaving the context stops it."""

    def __init__(self, arguments: Sequence[str], log: Path, stop_seconds: float = 15.0) -> None:
        """Start the server.

        Args:
            arguments: what follows `geminifusion serve`.
            log: file for its output.
            stop_seconds: how long it may take to finish what it has accepted once it is told to stop.
        """
        self.log = log
        self._stop_seconds = stop_seconds
        command = [sys.executable, "-P", "-m", "geminifusion", "serve", *arguments]
        with log.open("wb") as stream:
            # In a session of its own: Ctrl-C reaches this process alone, which stops the server in order.
            self._process = subprocess.Popen(  # noqa: S603  # our own command, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    def wait_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Ask until `ready` says yes.

        Raises:
            ServerFailed: the process ended, or the time is over.
        """
        limit = time.monotonic() + seconds
        while not ready():
            code = self._process.poll()
            if code is not None:
                raise ServerFailed(f"the server ended with exit code {code}; its log ends:\n{self.log_tail()}")
            if time.monotonic() > limit:
                raise ServerFailed(f"the server was not ready within {seconds:g} s; its log ends:\n{self.log_tail()}")
            time.sleep(0.05)

    def wait(self) -> int:
        """Wait until the server ends by itself; its exit code."""
        while True:
            try:
                # with a time limit: a signal that comes just before an endless wait is not noticed until that ends
                return self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                continue

    def stop(self) -> int:
        """Let the server finish what it has accepted, then end it; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def log_tail(self) -> str:
        """The last lines of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "(nothing)"

    def peak_memory_mib(self) -> float | None:
        """The most memory the server held so far, in MiB; None where the system does not say."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def open_port(wanted: int, host: str) -> int:
    """`wanted` if a server can listen there, else a free port the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # As servers do, so that a port whose last connections are still closing counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise ServerFailed(f"no port can be opened on {host}; check that the address is one of this machine's")
