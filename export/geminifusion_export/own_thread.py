"""A thread for what must not touch the signal stack of the thread that asks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_own_thread(call: Callable[[], T]) -> T:
    """Ask OpenVINO where no signal is ever delivered.

    It gives the calling thread a signal stack, when it loads its CPU part or compiles, and unmaps it when the network
    goes, in whichever thread that happens; the next signal of the first one, a Ctrl-C, would crash the process. A
    thread that ends takes its signal stack with it.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()
