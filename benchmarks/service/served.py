"""A server in a process of its own, as benchmarks start it, watch it and stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_READY_S = 180.0
_STOP_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where a server listens, and its process."""

    host: str
    http_port: int
    grpc_port: int
    pid: int


@contextmanager
def served(
    artifact: Path | None,
    *options: object,
    script: Path | None = None,
    script_arguments: Sequence[str] = (),
) -> Iterator[Served]:
    """`geminifusion serve` on free ports, ready; stopped at the end.

    Args:
        artifact: None takes the bundled model.
        options: of the command line.
        script: run instead of the command, its own arguments first; it must print the same two lines.

    Raises:
        RuntimeError: it did not become ready; the message holds its last words.
    """
    command = [sys.executable, *([str(script), *script_arguments] if script else ["-m", "geminifusion", "serve"])]
    command += ["--http-port", "0", "--grpc-port", "0", *map(str, options)]
    command += [] if artifact is None else ["--artifact", str(artifact)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    assert process.stderr is not None
    last_words: deque[str] = deque(maxlen=30)
    # Somebody must read what it writes, or a talkative server would stop when the pipe is full.
    threading.Thread(target=last_words.extend, args=(process.stderr,), daemon=True).start()
    giving_up = threading.Timer(_READY_S, process.kill)
    giving_up.start()
    try:
        addresses = _wait_until_ready(process, last_words)
        giving_up.cancel()
        threading.Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
        yield addresses
    finally:
        giving_up.cancel()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[str], last_words: deque[str]) -> Served:
    assert process.stdout is not None
    ports: list[int] = []
    for line in process.stdout:
        if "listening:" in line:
            ports = [int(word.rpartition(":")[2]) for word in line.split() if "://" in word]
        if "ready:" in line:
            http_port, grpc_port = ports[0], ports[-1]
            return Served(host="127.0.0.1", http_port=http_port, grpc_port=grpc_port, pid=process.pid)
    process.wait()
    raise RuntimeError(f"the server did not become ready:\n{''.join(last_words)}")
