"""How many bytes have come over a gRPC connection, which gRPC tells nobody but the kernel counts; and its end.

Linux only; elsewhere nothing is found, and messages count when they are complete.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

_FILES = Path("/proc/self/fd")
_TCP_INFO_BYTES = 192
_RECEIVED = struct.Struct("<Q")
_RECEIVED_AT = 128  # tcpi_bytes_received of struct tcp_info, since Linux 4.1
_MAPPED = "::ffff:"  # an IPv4 address on a socket for both
_SEARCH_SHARE = 0.05  # of the time; thousands of open files take tens of milliseconds

Address = tuple[str, int]


class ConnectionCounters:
    """Counters of the connections to one port.

    Args:
        port: of this server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._files: dict[Address, int] = {}
        self._next_search = 0.0

    def received(self, peer: Address) -> int | None:
        """Bytes that have come from a peer since it connected; None where that is not known."""
        if (file := self._files.get(peer)) is not None:
            if (count := self._read(file, peer)) is not None:
                return count
            del self._files[peer]
        begin = time.monotonic()
        if begin < self._next_search:
            return None
        self._files = dict(self._search())
        end = time.monotonic()
        self._next_search = end + (end - begin) / _SEARCH_SHARE
        file = self._files.get(peer)
        return None if file is None else self._read(file, peer)

    def shut_down(self, peer: Address) -> bool:
        """Let nothing more come from a peer, whose connection then ends; whether there is one."""
        file = self._files.get(peer)
        if file is None:
            return False
        try:
            with socket.fromfd(file, socket.AF_INET6, socket.SOCK_STREAM) as one:
                if _plain(one.getpeername()) != peer:
                    return False
                one.shutdown(socket.SHUT_RDWR)
        except (OSError, IndexError, TypeError):
            return False
        return True

    def _search(self) -> Iterator[tuple[Address, int]]:
        if not _FILES.is_dir():
            return
        for file in _FILES.iterdir():
            try:
                if not str(file.readlink()).startswith("socket:"):
                    continue
                with socket.fromfd(int(file.name), socket.AF_INET6, socket.SOCK_STREAM) as one:
                    if one.getsockname()[1] == self._port:
                        yield _plain(one.getpeername()), int(file.name)
            except (OSError, IndexError, TypeError):  # it was closed meanwhile, is no connection, or a Unix socket
                continue

    def _read(self, file: int, peer: Address) -> int | None:
        try:
            # A copy of the descriptor: the connection cannot be closed by what is done here, nor kept open for long.
            with socket.fromfd(file, socket.AF_INET6, socket.SOCK_STREAM) as one:
                if _plain(one.getpeername()) != peer:
                    return None
                facts = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        except (OSError, IndexError, TypeError):
            return None
        if len(facts) < _RECEIVED_AT + _RECEIVED.size:
            return None
        (count,) = _RECEIVED.unpack_from(facts, _RECEIVED_AT)
        return int(count)


def address_of(peer: str) -> Address | None:
    """Address of a peer as gRPC names it: `ipv4:127.0.0.1:4711`, `ipv6:%5B::1%5D:4711`."""
    kind, _, address = unquote(peer).partition(":")
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") and port.isdecimal() else None


def _plain(address: tuple[object, ...]) -> Address:
    host, port = address[:2]
    assert isinstance(port, int)
    return str(host).removeprefix(_MAPPED), port
