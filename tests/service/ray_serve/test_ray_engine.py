"""`geminifusion serve --executor ray`, as a process with replicas of its own, under load and while parts of it die."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from geminifusion import Client
from geminifusion.errors import ServerUnreachableError
from geminifusion.server_process import ServerProcess
from geminifusion_service.ray_serve.reaper import processes_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason='needs Ray Serve: pip install "geminifusion[ray]"'
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]
START_S = 60.0


class OnRay:
    """A served artifact and the processes behind it."""

    def __init__(self, artifact: Path, log: Path, *options: str) -> None:
        self._folders = Path(tempfile.mkdtemp(prefix="gf"))  # short, because Ray puts sockets into it
        self.home = log.parent / "home"
        self.home.mkdir()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("TMPDIR", str(self._folders))
            environment.setenv("HOME", str(self.home))
            arguments = ["--executor", "ray", "--artifact", str(artifact), "--http-port", "0", "--grpc-port", "0"]
            self.process = ServerProcess([*arguments, *options], log, stop_s=40)
        try:
            self.process.wait_ready(START_S)
        except BaseException:
            self.stop()
            raise
        self.url, self.grpc_url = self.process.http_url, self.process.grpc_url
        (self.folder,) = self._folders.glob("geminifusion-ray-*")

    @property
    def replicas(self) -> list[int]:
        """The processes of the replicas, those that are still being started included."""
        return [
            number
            for number in processes_of(self.folder)
            if Path(f"/proc/{number}/cmdline").read_bytes().startswith(b"ray::ServeReplica")
        ]

    def num_answering(self) -> int:
        """How many replicas take requests, going by the service itself."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        return int(float(re.search(r"^geminifusion_replicas ([0-9.]+)$", text, re.MULTILINE)[1]))  # type: ignore[index]

    def stop(self) -> int:
        code = self.process.stop()
        with contextlib.suppress(OSError):
            self._folders.rmdir()
        return code


def eventually(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def on_ray(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """Two replicas for every test that leaves two behind."""
    server = OnRay(tiny_artifact, tmp_path_factory.mktemp("ray") / "log", "--replicas", "2", "--threads", "1")
    yield server
    server.stop()


class Load:
    """Clients that ask without pause and check every answer. They send nothing twice."""

    def __init__(self, url: str, pair: Any, clients: int = 4) -> None:
        self._url, self._pair, self._done = url, pair, threading.Event()
        self.answers = 0
        self.failures: list[Exception] = []
        self._pool = ThreadPoolExecutor(clients)
        self._running = [self._pool.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with Client(self._url, retries=0) as client:
            while not self._done.is_set():
                try:
                    labels = client.segment(self._pair.rgb, self._pair.depth_mm).labels
                except Exception as error:
                    self.failures.append(error)
                    time.sleep(0.05)
                else:
                    assert np.array_equal(labels, self._pair.labels)
                    self.answers += 1

    def end(self) -> None:
        self._done.set()
        for running in self._running:
            running.result(60)
        self._pool.shutdown()


@pytest.mark.parametrize("transport", ["url", "grpc_url"])
def test_the_answer_is_the_one_without_ray(on_ray: OnRay, pair: Any, transport: str) -> None:
    with Client(getattr(on_ray, transport)) as client:
        result = client.segment(pair.rgb, pair.depth_mm)
        (model,) = client.models()
    assert np.array_equal(result.labels, pair.labels)
    assert result.confidence is not None
    assert model["backend"] == "onnxruntime-cpu"


def test_errors_are_those_without_ray(
    on_ray: OnRay, live_server: Any, pair: Any, make_pair: Callable[..., Any]
) -> None:
    other = make_pair(1, 40, 64)
    bad: list[tuple[dict[str, bytes], dict[str, str]]] = [
        ({"rgb": pair.files()["rgb"]}, {}),
        (pair.files(thermal=b"x"), {}),
        (pair.files(depth=b"no image"), {}),
        (pair.files(depth=other.files()["depth"]), {}),
        (pair.files(), {"model": "absent"}),
        (pair.files(), {"format": "jpeg"}),
        (pair.files(), {"deadline_ms": "-1"}),
    ]
    with httpx.Client(trust_env=False, headers={"X-Request-Id": "same"}) as client:
        for files, query in bad:
            here, there = (
                client.post(f"{url}/v1/segment", files=files, params=query) for url in (live_server.url, on_ray.url)
            )
            assert (there.status_code, there.json()) == (here.status_code, here.json())
            assert here.status_code in range(400, 500)


def test_a_deadline_holds_while_every_replica_hangs(on_ray: OnRay, pair: Any) -> None:
    hanging = on_ray.replicas
    for number in hanging:
        os.kill(number, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with httpx.Client(trust_env=False) as client:
            answer = client.post(
                f"{on_ray.url}/v1/segment", files=pair.files(), params={"deadline_ms": 300}, timeout=20
            )
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        assert time.monotonic() - started < 5
    finally:
        for number in hanging:
            os.kill(number, signal.SIGCONT)


@pytest.mark.parametrize("transport", ["url", "grpc_url"])
def test_no_request_fails_when_a_replica_is_killed_under_load(on_ray: OnRay, pair: Any, transport: str) -> None:
    before = on_ray.replicas
    load = Load(getattr(on_ray, transport), pair)
    try:
        eventually(lambda: load.answers > 20, 10)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(on_ray.replicas) == 2 and before[0] not in on_ray.replicas, 20)
        eventually(lambda: on_ray.num_answering() == 2, 20)
        answered = load.answers
        eventually(lambda: load.answers > answered + 20, 10)
    finally:
        load.end()
    assert not load.failures


def test_a_request_outlives_every_replica(on_ray: OnRay, pair: Any) -> None:
    doomed = on_ray.replicas
    for number in doomed:
        os.kill(number, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool, Client(on_ray.url, retries=0, timeout=60) as client:
        answer = pool.submit(client.segment, pair.rgb, pair.depth_mm)
        time.sleep(0.5)
        for number in doomed:
            os.kill(number, signal.SIGKILL)
        assert np.array_equal(answer.result(60).labels, pair.labels)
    eventually(lambda: on_ray.num_answering() == 2, 30)


def test_what_a_replica_opens_to_the_network_asks_for_the_token(on_ray: OnRay) -> None:
    ports = [port for number in on_ray.replicas for port in ports_on_every_interface(number)]
    assert len(ports) == 2
    for port in ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_sigterm_under_load_fails_nothing_that_was_accepted_and_leaves_nothing(
    tiny_artifact: Path, tmp_path: Path, pair: Any
) -> None:
    server = OnRay(tiny_artifact, tmp_path / "log", "--replicas", "1", "--max-replicas", "2", "--target-ongoing", "1")
    load = Load(server.url, pair, clients=8)
    try:
        assert server.num_answering() == 1
        eventually(lambda: server.num_answering() == 2, 40)
        server.process._process.send_signal(signal.SIGTERM)
        assert server.process.wait() == 0
    finally:
        load.end()
        server.stop()
    # Nobody listened any more, or closed a connection on which nothing had been asked yet: neither was accepted.
    assert load.failures
    assert {type(error) for error in load.failures} == {ServerUnreachableError}
    assert not processes_of(server.folder)
    assert not server.folder.exists()
    # ONNX Runtime keeps an identifier of its own there; Ray keeps nothing.
    assert {path.name for path in server.home.iterdir()} <= {".cache"}


def test_a_request_without_a_model_gets_the_default_one(
    tiny_artifact: Path, make_artifact: Callable[..., Path], tmp_path: Path, pair: Any
) -> None:
    other = make_artifact(tmp_path / "other", name="other")
    server = OnRay(
        tiny_artifact, tmp_path / "log", "--artifact", str(other), "--default-model", "other", "--threads", "1"
    )
    try:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            models = [one["name"] for one in client.get("/v1/models").json()["models"]]
            answers = [
                client.post("/v1/segment", files=pair.files(), params=query) for query in ({}, {"model": "tiny"})
            ]
        assert models == ["other", "tiny"]
        assert [answer.headers["X-Geminifusion-Model"] for answer in answers] == ["other@1", "tiny@1"]
    finally:
        server.stop()


def test_nothing_stays_when_the_front_is_killed(tiny_artifact: Path, tmp_path: Path) -> None:
    server = OnRay(tiny_artifact, tmp_path / "log")
    assert processes_of(server.folder)
    server.process._process.kill()
    eventually(lambda: not processes_of(server.folder) and not server.folder.exists(), 15)
    server.stop()


def ports_on_every_interface(process: int) -> list[int]:
    """That one process listens on, from its sockets."""
    sockets = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(entry.readlink()))
    ports = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == "0A" and not int(address, 16) and f"socket:[{fields[9]}]" in sockets:
                ports.append(int(port, 16))
    return ports
