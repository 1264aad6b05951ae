"""A server process to do bad things to, and a client that speaks HTTP by hand."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

_SERVE = "from geminifusion_service.commands import serve; serve.main(prog_name='geminifusion serve')"


class ServerProcess:
    """`geminifusion serve` of its own; `host` and the ports are where it listens."""

    host = "127.0.0.1"

    def __init__(self, *arguments: object, preamble: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", preamble + _SERVE, "--http-port", "0", "--grpc-port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        )
        self.stderr: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.stderr.extend(self.process.stderr)

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "listening" in line:
                self.http_port, self.grpc_port = map(int, re.findall(r":(\d+)\b", line))
            if "ready" in line:
                return
        raise AssertionError("it did not become ready: " + "".join(self.stderr))

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    @property
    def grpc_target(self) -> str:
        return f"{self.host}:{self.grpc_port}"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, trust_env=False, timeout=30)

    def post(self, files: dict[str, bytes], **query: str | float) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/segment", files=files, params=query, trust_env=False, timeout=30)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        assert found, f"{name} is not among the metrics"
        return float(found[1])

    def decoders(self) -> list[int]:
        """The decoding processes that it runs now."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():  # each thread has the children that it started
            for child in (task / "children").read_text().split():
                command = Path(f"/proc/{child}/cmdline")
                if command.exists() and b"decoder_process" in command.read_bytes():
                    found.append(int(child))
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._reader.join(30)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def server_process(tiny_artifact: Path) -> Callable[..., AbstractContextManager[ServerProcess]]:
    """`with server_process("--queue-size", 4) as server`: ready, and gone at the end whatever happened."""

    @contextmanager
    def started(*arguments: object, artifact: Path = tiny_artifact, preamble: str = "") -> Iterator[ServerProcess]:
        few = ("--threads", 1, "--decode-isolation", "thread")
        server = ServerProcess("--artifact", artifact, *few, *arguments, preamble=preamble)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.end()

    return started


class RawHttp:
    """One connection on which a request can be sent in pieces."""

    def __init__(self, host: str, port: int, files: dict[str, bytes]) -> None:
        request = httpx.Request("POST", f"http://{host}:{port}/v1/segment", files=files)
        self.body = request.read()
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        self.head = "\r\n".join(["POST /v1/segment HTTP/1.1", *lines, "", ""]).encode()
        self.expectant_head = self.head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
        self._socket = socket.create_connection((host, port), 30)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> bytes:
        """Head and body of the next answer; empty where the server hung up without one."""
        received = b""
        with suppress(ConnectionResetError):
            while b"\r\n\r\n" not in received:
                if not (data := self._socket.recv(65536)):
                    return received
                received += data
            head, _, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            while length and len(body) < int(length[1]):
                data = self._socket.recv(65536)
                if not data:
                    return b""
                body += data
            return head + b"\r\n\r\n" + body
        return received

    def status(self) -> int:
        """Of the next answer; 0 where the server hung up without one."""
        answer = self.answer()
        return int(answer.split(b" ", 2)[1]) if answer else 0

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def raw_http(pair) -> Iterator[Callable[..., RawHttp]]:
    """`raw_http(host, port)`: a connection, closed at the end."""
    opened: list[RawHttp] = []

    def connect(host: str, port: int, files: dict[str, bytes] | None = None) -> RawHttp:
        opened.append(RawHttp(host, port, files or pair.files()))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()
