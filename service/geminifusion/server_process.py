"""`geminifusion serve` in a process of its own: start it, wait until it is ready, stop it.

The demo, benchmarks and tests all start servers this way.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

SERVE = (sys.executable, "-P", "-m", "geminifusion", "serve")
_LISTENING = re.compile(r"^geminifusion listening: (\S+) (\S+)$", re.MULTILINE)
_READY = re.compile(r"^geminifusion ready: ", re.MULTILINE)
_TAIL_LINES = 20


class ServerStartError(RuntimeError):
    """The server ended, or was not ready in time; the message ends with the last lines of its log."""


class ServerProcess:
    """A running server and the log it writes; leaving the context stops it.

    Attributes:
        log: file with the output of the process.
        pid: number of the process.
        http_url, grpc_url: where the server listens, once `wait_ready` has returned.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        log: Path,
        *,
        command: Sequence[object] = SERVE,
        stop_s: float = 15.0,
    ) -> None:
        """Start the server.

        Args:
            arguments: what follows `geminifusion serve`.
            log: file for its output.
            command: another program to run; it must print the two lines that `geminifusion serve` does when it listens
                and when it is ready.
            stop_s: longest to finish accepted requests once the server is told to stop.
        """
        self.log = log
        self.http_url = self.grpc_url = ""
        self._stop_s = stop_s
        with log.open("wb") as stream:
            # In a session of its own: Ctrl-C reaches this process alone, which stops the server in order.
            self._process = subprocess.Popen(  # noqa: S603  # our own command, no shell
                [*map(str, command), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        self.pid = self._process.pid

    def wait_ready(self, seconds: float) -> None:
        """Wait until the server says that it is ready.

        Raises:
            ServerStartError: the process ended, or the time is over.
        """
        limit = time.monotonic() + seconds
        while not _READY.search(output := self._output()):
            code = self._process.poll()
            if code is not None:
                raise ServerStartError(f"the server ended with exit code {code}; its log ends:\n{self.log_tail()}")
            if time.monotonic() > limit:
                raise ServerStartError(
                    f"the server was not ready within {seconds:g} s; its log ends:\n{self.log_tail()}"
                )
            time.sleep(0.05)
        addresses = _LISTENING.search(output)
        assert addresses is not None, "a server listens before it is ready"
        self.http_url, self.grpc_url = addresses.groups()

    def wait(self) -> int:
        """Wait until the server ends by itself; its exit code."""
        while True:
            try:
                # with a time limit: a signal that comes just before an endless wait is not noticed until that ends
                return self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                continue

    def stop(self) -> int:
        """Let the server finish the requests it has accepted, then end it; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self._output().splitlines()[-_TAIL_LINES:]) or "(nothing)"

    def peak_memory_mib(self) -> float | None:
        """Peak resident memory of the server so far, in MiB; None where the system does not say."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return None

    def _output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def running_server(
    arguments: Sequence[object],
    log: Path,
    *,
    http_port: int = 0,
    grpc_port: int = 0,
    command: Sequence[object] = SERVE,
    ready_s: float = 90.0,
    stop_s: float = 15.0,
) -> Iterator[ServerProcess]:
    """A server that is ready, and stopped at the end of the block.

    Args:
        arguments, log, command, stop_s: see `ServerProcess`.
        http_port, grpc_port: where to listen; 0 takes a free port.
        ready_s: longest to become ready.

    Raises:
        ServerStartError: it did not become ready; the message ends with its log.
    """
    ports = ("--http-port", http_port, "--grpc-port", grpc_port)
    with ServerProcess([*arguments, *ports], log, command=command, stop_s=stop_s) as server:
        server.wait_ready(ready_s)
        yield server


def open_port(wanted: int, host: str) -> int:
    """`wanted` if a server can listen there, else a free port the system picks.

    Raises:
        ServerStartError: no port can be opened on this host.
    """
    for port in (wanted, 0):
        with socket.socket() as probe:
            # As servers do, so that a port whose last connections are still closing counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise ServerStartError(f"no port can be opened on {host}; check that the address is one of this machine's")
