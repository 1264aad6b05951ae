"""A server with low limits, and a client that speaks HTTP byte by byte."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

KEY = "k-seg"
SMALL = {
    "max_body_bytes": 256 * 1024,
    "max_inflight_bytes": 1024 * 1024,
    "max_head_bytes": 4096,
    "head_timeout_s": 0.5,
    "keep_alive_s": 1,
}


class Raw:
    """A connection on which anything can be sent."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)

    def send(self, data: bytes) -> bool:
        """Whether the server took it."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def head(self) -> bytes:
        """What comes until the end of the headers."""
        received = b""
        with suppress(OSError):
            while b"\r\n\r\n" not in received and (data := self.socket.recv(65536)):
                received += data
        return received

    def is_closed_within(self, seconds: float) -> bool:
        """Whether the server closes the connection so soon; what it sends is skipped."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if not self.socket.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False

    def open_stream(self, **headers: str) -> bytes:
        """The response to an upgrade."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        key = base64.b64encode(b"a" * 16).decode()
        host = "" if "Host" in headers else "Host: localhost\r\n"
        self.send(
            f"GET /v1/stream HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n".encode()
        )
        return self.head()


def eventually(condition: Callable[[], Any], seconds: float = 5.0) -> bool:
    """Whether a condition comes true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def small(serving) -> Iterator[Any]:
    """A server that holds 1 MiB of bodies of at most 256 KiB."""
    with serving(**SMALL) as live:
        yield live


@pytest.fixture(scope="module")
def keyed(serving, tmp_path_factory) -> Iterator[Any]:
    """The same, and it asks for a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.write_text(f'[camera]\nsha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"\n')
    with serving(api_keys_file=str(keys), **SMALL) as live:
        yield live


@pytest.fixture
def raw() -> Iterator[Callable[[Any], Raw]]:
    """`raw(live)`: a connection, closed at the end."""
    opened: list[Raw] = []

    def connect(live: Any) -> Raw:
        opened.append(Raw(live.server.http_port))
        return opened[-1]

    yield connect
    for one in opened:
        one.socket.close()


@pytest.fixture
def held() -> Callable[[Any], int]:
    """`held(live)`: bytes that the budget of a server counts."""
    return lambda live: live.server.segmenter.budget.held("bytes")
