"""Part d: the service with torch on a GPU under load for a minute: goodput, latencies, memory, and what limits it."""

from __future__ import annotations

import http.client
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import torch

from geminifusion_export.gpu_acceptance.requirements import require_torch_gpu
from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.backends.selection import open_backend
from geminifusion_runtime.bundled import artifact_path, demo_pairs
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.devices import Device
from geminifusion_runtime.dummy_inputs import random_inputs

BACKEND = "torch-float16"
SHARE_TARGET = 0.9  # of the bare engine's pairs/s, unless the CPU is the limit
_SECONDS = 60.0
_CLIENTS = 48
_READY_S = 30.0
_LARGEST_GROWTH = 0.02  # of the GPU's memory in use, from the middle third of the time to the last
_CPU_LIMIT = 0.85  # of the cores, from which on they are the limit
_HOST = "127.0.0.1"
_BATCH_METRICS = re.compile(r"^geminifusion_batch_size_(sum|count)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


class ServerFailedError(RuntimeError):
    """The server ended or did not become ready; the message ends with its log."""


@dataclass
class Load:
    """What clients saw, and the GPU's memory meanwhile."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)  # of successes
    failures: dict[str, int] = field(default_factory=dict)
    gpu_bytes: list[int] = field(default_factory=list)  # in use on the whole device, each second

    @property
    def goodput(self) -> float:
        """Successes per second."""
        return len(self.latencies_s) / self.seconds

    def latency_ms(self, share: float) -> float:
        """The latency that this share of the successes has at most, e.g. 0.99."""
        ordered = sorted(self.latencies_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def growth(self) -> float:
        """Growth of the GPU's memory from the middle third of the time to the last, as a share."""
        third = len(self.gpu_bytes) // 3
        if not third:
            return 0.0
        return statistics.median(self.gpu_bytes[2 * third :]) / statistics.median(self.gpu_bytes[third : 2 * third]) - 1


def examine(report: Report) -> None:
    """Serve, load, compare with the engine alone."""
    require_torch_gpu()
    report.figure("gpu", torch.cuda.get_device_name())
    torch.zeros(1, device="cuda")  # this process's own context, before memory is first read
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--artifact", artifact_path(), "--backend", BACKEND, "--devices", "cuda:0"]
        with served(arguments, Path(folder) / "server.log") as url:
            load = run_load(url, seconds=_SECONDS, clients=_CLIENTS, watches_gpu=True)
            batches = mean_batch(httpx.get(f"{url}/metrics", trust_env=False).text)
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    judge(report, load)
    cores = (cpu.ru_utime + cpu.ru_stime) / load.seconds / usable_cores()
    report.figure("server and decoders, share of the cores", cores)
    if batches is not None:
        report.figure("mean batch", batches)
    bare = _bare_pairs_per_second()
    report.figure("bare engine pairs/s", bare)
    if load.goodput < SHARE_TARGET * bare and cores > _CPU_LIMIT:
        report.note(f"the CPU's decoding is the limit: {100 * cores:.0f} % of {usable_cores()} cores are busy")
    else:
        report.target("goodput of the bare engine's", 100 * SHARE_TARGET, 100 * load.goodput / bare, "%")


def judge(report: Report, load: Load) -> None:
    """Record what clients saw, and whether every request succeeded and memory stayed flat."""
    report.figure("goodput pairs/s", load.goodput)
    report.figure("p50 ms", load.latency_ms(0.5))
    report.figure("p99 ms", load.latency_ms(0.99))
    failed = sum(load.failures.values())
    report.check(
        "every request succeeds", bool(load.latencies_s) and not failed, f"{len(load.latencies_s)} did, {load.failures}"
    )
    if load.gpu_bytes:
        report.figure("GPU memory GB", max(load.gpu_bytes) / 1e9)
        growth = load.growth()
        report.check("GPU memory stays flat", growth <= _LARGEST_GROWTH, f"it grew by {100 * growth:.2f} %")


@contextmanager
def served(arguments: Sequence[object], log: Path, ready_s: float = _READY_S) -> Iterator[str]:
    """A server that is ready, by its address; stopped at the end of the block.

    Raises:
        ServerFailedError: it is not ready in time.
    """
    port = _free_port()
    listening = ["--host", _HOST, "--http-port", port, "--grpc-port", 0]
    command = [sys.executable, "-P", "-m", "geminifusion", "serve", *map(str, [*listening, *arguments])]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603
    try:
        _wait_ready(process, port, log, ready_s)
        yield f"http://{_HOST}:{port}"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path, ready_s: float) -> None:
    end = time.monotonic() + ready_s
    while time.monotonic() < end and process.poll() is None:
        with (
            suppress(OSError, http.client.HTTPException),
            closing(http.client.HTTPConnection(_HOST, port, timeout=5)) as connection,
        ):
            connection.request("GET", "/healthz/ready")
            with connection.getresponse() as response:
                if response.status == 200:
                    return
        time.sleep(0.1)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    raise ServerFailedError(f"the server was not ready within {ready_s:g} s; its log ends: {' / '.join(last)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def run_load(url: str, *, seconds: float, clients: int, watches_gpu: bool) -> Load:
    """Post the bundled photograph from several clients, each sending when it has its response."""
    load = Load()
    pair = next(iter(demo_pairs().values()))
    rgb, depth = pair.rgb.read_bytes(), pair.depth.read_bytes()
    begin = time.monotonic()
    lock = threading.Lock()

    def client() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=30.0) as session:
            while time.monotonic() < begin + seconds:
                files = {"rgb": ("rgb.jpg", rgb), "depth": ("depth.png", depth)}
                start = time.monotonic()
                try:
                    response = session.post("/v1/segment", files=files, params={"depth_scale": pair.depth_scale})
                    code = str(response.status_code)
                except httpx.HTTPError as error:
                    code = type(error).__name__
                with lock:
                    if code == "200":
                        load.latencies_s.append(time.monotonic() - start)
                    else:
                        load.failures[code] = load.failures.get(code, 0) + 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while watches_gpu and time.monotonic() < begin + seconds:
        free, total = torch.cuda.mem_get_info()
        load.gpu_bytes.append(total - free)
        time.sleep(1.0)
    for thread in threads:
        thread.join()
    load.seconds = time.monotonic() - begin
    return load


def mean_batch(metrics: str) -> float | None:
    """Requests in a batch on average, from the server's metrics; None if it ran none."""
    found: dict[str, float] = {}
    for kind, value in _BATCH_METRICS.findall(metrics):
        found[kind] = found.get(kind, 0.0) + float(value)
    return found["sum"] / found["count"] if found.get("count") else None


def _bare_pairs_per_second() -> float:
    """The backend without a server, at the batch size of its highest throughput."""
    directory = artifact_path()
    metadata = read_metadata(directory)
    backend, _ = open_backend(directory, metadata, wanted=BACKEND, threads=1, device=Device(kind="cuda"))
    best = 0.0
    for batch in (8, 16, 32):
        inputs = random_inputs(metadata.modalities, (batch, *metadata.size.reference))
        for _ in range(3):
            backend.run(inputs)
        begin, runs = time.perf_counter(), 0
        while time.perf_counter() < begin + 1.0:
            backend.run(inputs)
            runs += 1
        best = max(best, batch * runs / (time.perf_counter() - begin))
    return best
