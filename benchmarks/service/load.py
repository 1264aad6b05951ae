"""The load generator: a separate process that sends requests to a server and times every response.

It reads one `Load` in JSON from standard input and prints one `Outcome` in JSON; `run_load` does both. Requests are
built beforehand, HTTP is spoken on bare sockets and responses are only counted, so that a request costs the generator a
fraction of a millisecond of the cores it shares with the server.

Closed loop: a number of clients, each sending when it has its response. Open loop: Poisson arrivals at a rate, whatever
the server does, timed from when a request was due, so that a stall of the server shows in the latencies.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from process_figures import cpu_seconds

OK = "200"
Send = Callable[[bytes], Awaitable[str]]  # from a request to the code of its response

_RESPONSE_S = 60.0  # after which a request counts as hanging
_CHANNELS = 4
_MESSAGE_LIMIT = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Load:
    """What to send where, and for how long."""

    transport: str  # http or grpc
    host: str
    port: int
    requests: Sequence[str]  # files: whole HTTP requests, or gRPC messages; sent in turn
    rpc: str = ""  # the gRPC method, /package.Service/Method
    clients: int = 8  # of a closed loop
    rate: float | None = None  # requests per second; makes it an open loop
    warm_up_s: float = 1.0
    seconds: float = 5.0
    num_requests: int | None = None  # stop after so many instead, where it comes first
    watched_pid: int | None = None  # the server, whose CPU seconds are taken in the same window
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency of the responses with one code, in milliseconds."""

    count: int
    p50: float
    p99: float
    worst: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured between the end of the warm-up and the end."""

    seconds: float
    codes: dict[str, Latency]  # HTTP status or gRPC code name; OK is 200 for both
    succeeded_per_second: list[int] = field(default_factory=list)  # in each whole second of the window
    client_cpu_s: float = 0.0
    server_cpu_s: float | None = None
    last_failure_s: float | None = None  # when the last request that failed was due, in the window

    @property
    def succeeded(self) -> int:
        """Responses with success."""
        return self.codes[OK].count if OK in self.codes else 0

    @property
    def throughput(self) -> float:
        """Successes per second."""
        return self.succeeded / self.seconds

    @property
    def server_cpu_ms(self) -> float:
        """The server's CPU milliseconds per success."""
        assert self.server_cpu_s is not None, "nobody asked for it"
        return 1000 * self.server_cpu_s / max(1, self.succeeded)

    @property
    def failures(self) -> dict[str, int]:
        """How many of every other code."""
        return {code: latency.count for code, latency in self.codes.items() if code != OK}


class HttpConnection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._response: asyncio.Future[str] | None = None
        self._received = bytearray()
        self._needed: int | None = None
        self._closing = False
        self.usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def send(self, request: bytes) -> str:
        """Send a whole request; the status of its response, or `disconnected`."""
        self._response = asyncio.get_running_loop().create_future()
        self._received.clear()
        self._needed, self._closing = None, False
        self._transport.write(request)
        return await self._response

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        while self._needed is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            if self._received.startswith(b"HTTP/1.1 100"):
                del self._received[: end + 4]
                continue
            head = bytes(self._received[:end]).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._needed = end + 4 + int(length or b"0")
            self._closing = b"connection: close" in head
        if len(self._received) >= self._needed and self._response is not None and not self._response.done():
            # A response before all was sent: the rest belongs to a request that is over.
            if self._closing or self._transport.get_write_buffer_size():
                self.close()
            self._response.set_result(self._received[9:12].decode())

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.usable = False
        if self._response is not None and not self._response.done():
            self._response.set_result("disconnected")

    def close(self) -> None:
        """Give it up."""
        self.usable = False
        self._transport.abort()


class HttpSender:
    """Sends over idle connections, and opens another if there is none."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._idle: list[HttpConnection] = []

    async def __call__(self, request: bytes) -> str:
        """Send one request; the code of its response."""
        connection = await self._connection()
        if connection is None:
            return "unreachable"
        try:
            return await connection.send(request)
        except BaseException:
            connection.close()
            raise
        finally:
            if connection.usable:
                self._idle.append(connection)

    async def _connection(self) -> HttpConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        try:
            _, protocol = await asyncio.get_running_loop().create_connection(HttpConnection, *self._address)
        except OSError:
            return None
        return protocol

    async def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.close()


class GrpcSender:
    """Sends serialised messages over a few channels in turn."""

    def __init__(self, host: str, port: int, rpc: str) -> None:
        import grpc

        options = [
            ("grpc.max_send_message_length", _MESSAGE_LIMIT),
            ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._error = grpc.aio.AioRpcError
        self._channels = [grpc.aio.insecure_channel(f"{host}:{port}", options) for _ in range(_CHANNELS)]
        self._calls = cycle([channel.unary_unary(rpc) for channel in self._channels])

    async def __call__(self, request: bytes) -> str:
        """Send one message; the code of its response."""
        try:
            await next(self._calls)(request)
        except self._error as error:
            return str(error.code().name)
        return OK

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            await channel.close()


class Recorder:
    """Times every response in the window."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.start = time.perf_counter() + load.warm_up_s
        self.end = self.start + load.seconds
        self._milliseconds: dict[str, list[float]] = defaultdict(list)
        self._ends: list[float] = []
        self._last_failure_s: float | None = None
        self._left = load.num_requests

    @property
    def over(self) -> bool:
        """Whether no more should be sent."""
        return time.perf_counter() >= self.end or self._left == 0

    async def time(self, send: Send, request: bytes, due: float) -> None:
        """Send one request that was due at `due` and record its response."""
        if self._left is not None:
            self._left -= 1
        try:
            async with asyncio.timeout(_RESPONSE_S):
                code = await send(request)
        except TimeoutError:
            code = "hanging"
        now = time.perf_counter()
        # An open loop counts requests due in the window, a closed one responses in it.
        if self.start <= (now if self._load.rate is None else due) < self.end:
            self._milliseconds[code].append(1000 * (now - due))
            if code == OK:
                self._ends.append(now - self.start)
            else:
                self._last_failure_s = max(due - self.start, self._last_failure_s or 0.0)

    def outcome(self, seconds: float, client_cpu_s: float, server_cpu_s: float | None) -> Outcome:
        """The figures."""
        per_second = [0] * int(seconds)
        for end in self._ends:
            if end < len(per_second):
                per_second[int(end)] += 1
        return Outcome(
            seconds=seconds,
            codes={code: _latency(values) for code, values in sorted(self._milliseconds.items())},
            succeeded_per_second=per_second,
            client_cpu_s=client_cpu_s,
            server_cpu_s=server_cpu_s,
            last_failure_s=self._last_failure_s,
        )


def _latency(milliseconds: list[float]) -> Latency:
    ordered = sorted(milliseconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return Latency(count=len(ordered), p50=statistics.median(ordered), p99=p99, worst=ordered[-1])


async def generate(load: Load, requests: Iterator[bytes]) -> Outcome:
    """Put the load on the server, of these requests."""
    sender: HttpSender | GrpcSender = (
        GrpcSender(load.host, load.port, load.rpc) if load.transport == "grpc" else HttpSender(load.host, load.port)
    )
    recorder = Recorder(load)
    measured = asyncio.create_task(_measure(load, recorder))
    drive = _closed_loop if load.rate is None else _open_loop
    await drive(load, recorder, lambda due: recorder.time(sender, next(requests), due))
    if not measured.done() and load.num_requests is not None:
        measured.cancel()
        with suppress(asyncio.CancelledError):
            await measured
        await sender.close()
        seconds = time.perf_counter() - recorder.start
        return recorder.outcome(seconds, time.process_time(), None)
    client_cpu_s, server_cpu_s = await measured
    await sender.close()
    return recorder.outcome(load.seconds, client_cpu_s, server_cpu_s)


async def _measure(load: Load, recorder: Recorder) -> tuple[float, float | None]:
    """CPU seconds of this process and of the server, within the window."""
    await asyncio.sleep(recorder.start - time.perf_counter())
    server = None if load.watched_pid is None else cpu_seconds(load.watched_pid)
    client = time.process_time()
    await asyncio.sleep(recorder.end - time.perf_counter())
    spent = None if load.watched_pid is None or server is None else cpu_seconds(load.watched_pid) - server
    return time.process_time() - client, spent


async def _closed_loop(load: Load, recorder: Recorder, send: Callable[[float], Awaitable[None]]) -> None:
    async def client() -> None:
        while not recorder.over:
            await send(time.perf_counter())

    async with asyncio.TaskGroup() as clients:
        for _ in range(load.clients):
            clients.create_task(client())


async def _open_loop(load: Load, recorder: Recorder, send: Callable[[float], Awaitable[None]]) -> None:
    assert load.rate is not None
    gaps = random.Random(load.seed)  # noqa: S311 - no secret
    due = time.perf_counter()
    async with asyncio.TaskGroup() as arrivals:
        while not recorder.over:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            arrivals.create_task(_sent(send, due))
            due += gaps.expovariate(load.rate)


async def _sent(send: Callable[[float], Awaitable[None]], due: float) -> None:
    await send(due)


def run_load(load: Load) -> Outcome:
    """Have the load generated by a process of its own."""
    return start_load(load).outcome()


class RunningLoad:
    """A load generator at work."""

    def __init__(self, load: Load) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dataclasses.asdict(load)))
        self._process.stdin.close()

    def outcome(self) -> Outcome:
        """Wait for it to finish.

        Raises:
            RuntimeError: the generator itself failed.
        """
        assert self._process.stdout is not None
        with self._process.stdout:
            text = self._process.stdout.read()
        if self._process.wait():
            raise RuntimeError(f"the load generator failed with code {self._process.returncode}; see above")
        facts: dict[str, Any] = json.loads(text)
        facts["codes"] = {code: Latency(**latency) for code, latency in facts["codes"].items()}
        return Outcome(**facts)


def start_load(load: Load) -> RunningLoad:
    """Have the load generated while the caller does something else."""
    return RunningLoad(load)


if __name__ == "__main__":
    load = Load(**json.load(sys.stdin))
    bodies = cycle([Path(name).read_bytes() for name in load.requests])
    print(json.dumps(dataclasses.asdict(asyncio.run(generate(load, bodies)))))
