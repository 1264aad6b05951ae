"""Accepts TLS connections, of which those count that have not finished their handshake.

asyncio's own server tells a protocol of a connection after its handshake, for which it allows a minute.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.5  # after the system had no file left for a connection
_log = logging.getLogger(__name__)


class TlsListener:
    """Accepts until it is closed. Make it in the event loop.

    Args:
        listener: bound and listening.
        context: of TLS.
        protocol: makes the protocol of a connection.
        num_open: connections that are past their handshake.
        max_connections: at once; the next is closed.
        handshake_timeout_s: longest time a handshake may take.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        num_open: Callable[[], int],
        max_connections: int,
        handshake_timeout_s: float,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._context = context
        self._protocol = protocol
        self._num_open = num_open
        self._max_connections = max_connections
        self._handshake_timeout_s = handshake_timeout_s
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accept no more, and give up unfinished handshakes."""
        self._accepting.cancel()
        for handshake in self._handshakes:
            handshake.cancel()

    async def wait_closed(self) -> None:
        """Wait until nothing of it runs any more."""
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # of this connection, or of the whole process
                if error.errno in _OUT_OF_FILES:
                    _log.error("cannot accept a connection (%s); raise `ulimit -n`", error.strerror)
                    await asyncio.sleep(_PAUSE_S)
                continue
            if self._num_open() + len(self._handshakes) >= self._max_connections:
                connection.close()  # a response would need a handshake first
                continue
            handshake = asyncio.create_task(self._shake_hands(connection))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake_timeout_s,
            )
        except OSError:  # ssl.SSLError and ConnectionError are some
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise
