"""The main loop of a worker process, and its end when the server is gone; the other end of `worker_client`."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

Handler = Callable[[dict[str, Any]], Mapping[str, Any]]


def run_worker(descriptor: int, handle: Handler) -> None:
    """Respond to one message after the other until the server closes the connection or is gone.

    Args:
        descriptor: of the inherited socket.
        handle: from message to response, both JSON-ready. What it raises ends the process.
    """
    # The server decides when to stop, after it has finished what it accepted.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_on_hangup, args=(descriptor,), daemon=True).start()
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as lines:
        for line in lines:
            response = json.dumps(handle(json.loads(line))).encode() + b"\n"
            try:
                connection.sendall(response)
            except OSError:
                os._exit(1)  # the server is gone


def _exit_on_hangup(descriptor: int) -> None:
    """Exit as soon as the other end of the connection closes, even in the middle of work that never ends."""
    hangup = select.poll()
    hangup.register(descriptor, 0)  # POLLHUP and POLLERR are always reported
    hangup.poll()
    os._exit(0)
