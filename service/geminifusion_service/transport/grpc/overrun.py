"""A brake for messages that arrive faster than a busy event loop can look at them.

gRPC receives in threads of its own: while the event loop is busy for a tenth of a second, a fast network brings
hundreds of megabytes of messages that nobody has counted yet. Only closing their connections stops that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from geminifusion_service.transport.grpc.kernel_counters import ConnectionCounters, address_of

_PERIOD_S = 0.01
_log = logging.getLogger(__name__)


class OverrunBrake:
    """A thread that looks at unfinished messages in the event loop's place while that is too busy to.

    Connections are shut down, those with most first, until the others have no more than the limit. Their calls end as
    those of a broken network, which clients try again.

    Args:
        counters: of the connections; used by nobody else, as they are not made for several threads.
        overdue: of the connections that messages are waited for on, by their peer, the bytes that belong to no
            unfinished message; nothing while the event loop looks at them itself.
        max_bytes: of all unfinished messages.
    """

    def __init__(
        self, counters: ConnectionCounters, overdue: Callable[[], Mapping[str, int]], *, max_bytes: int
    ) -> None:
        self._counters = counters
        self._overdue = overdue
        self._max_bytes = max_bytes
        self._closed: set[str] = set()  # peers whose connections are ending
        self._needed, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="grpc-overrun-brake", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def watch(self, needed: bool) -> None:
        """Say whether any message is waited for."""
        if needed:
            self._needed.set()
        else:
            self._needed.clear()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._needed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(_PERIOD_S):
            self._needed.wait()
            accounted = self._overdue()
            self._closed &= accounted.keys()
            if accounted:
                self._brake(accounted)

    def _brake(self, accounted: Mapping[str, int]) -> None:
        unfinished: dict[str, int] = {}
        for peer in accounted.keys() - self._closed:
            address = address_of(peer)
            received = self._counters.received(address) if address is not None else None
            if received is not None:
                unfinished[peer] = max(0, received - accounted[peer])
        excess = sum(unfinished.values()) - self._max_bytes
        for peer in sorted(unfinished, key=unfinished.__getitem__, reverse=True):
            if excess <= 0:
                return
            address = address_of(peer)
            if address is not None and self._counters.shut_down(address):
                excess -= unfinished[peer]
                self._closed.add(peer)
                _log.warning(
                    "closed the connection of %s, on which %d MB of unfinished messages came while the server was busy",
                    peer,
                    unfinished[peer] // 1_000_000,
                )
