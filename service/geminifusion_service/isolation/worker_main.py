"""What a process that works for the server does about its parent; the other end of `processes.child`."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

Answer = Callable[[dict[str, Any]], Mapping[str, Any]]


def answer_parent(descriptor: int, answer: Answer) -> None:
    """Answer one message after the other until the parent closes the connection or is gone.

    Args:
        descriptor: of the inherited socket.
        answer: from message to answer, both JSON-ready. What it raises ends the process.
    """
    # The parent decides when to stop, after it has finished what it accepted.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as lines:
        for line in lines:
            answered = json.dumps(answer(json.loads(line))).encode() + b"\n"
            try:
                connection.sendall(answered)
            except OSError:
                os._exit(1)  # the parent is gone


def _end_with_parent(descriptor: int) -> None:
    """Leave as soon as the other end of the connection closes, also in the middle of work that takes for ever."""
    hangup = select.poll()
    hangup.register(descriptor, 0)  # POLLHUP and POLLERR are always reported
    hangup.poll()
    os._exit(0)
