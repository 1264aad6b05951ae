"""The life of a server process: start, readiness, drain, stop; in real processes where signals matter; V28."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager

import grpc
import httpx
import numpy as np
import pytest

from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub
from geminifusion_service.server import Server, StartupError
from geminifusion_service.settings import Settings

SERVE = "from geminifusion_service.commands import serve; serve.main(prog_name='geminifusion serve')"


@contextmanager
def process(*arguments, script=SERVE):
    """A server process, killed at the end if a test failed to stop it."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "GEMINIFUSION_DECODE_ISOLATION": "thread",  # processes take half a second to start
    }
    started = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def free_ports(artifact):
    return ("--artifact", artifact, "--http-port", 0, "--grpc-port", 0, "--threads", 1)


def wait_until_ready(started):
    """The HTTP address and the gRPC target the process printed."""
    listening = started.stdout.readline().split()
    assert started.stdout.readline().startswith("geminifusion ready: tiny@1")
    return listening[2], listening[3].removeprefix("grpc://")


def test_a_process_serves_both_transports_and_stops_on_sigterm(tiny_artifact, pair):
    with process(*free_ports(tiny_artifact)) as started:
        url, target = wait_until_ready(started)
        http = httpx.post(f"{url}/v1/segment", files=pair.files(), trust_env=False)
        with grpc.insecure_channel(target) as channel:
            answer = SegmentationStub(channel).Segment(pb.SegmentRequest(images=pair.files()))
        assert http.content == answer.mask
        started.send_signal(signal.SIGTERM)
        assert started.wait(15) == 0
        assert "Traceback" not in started.stderr.read()


def test_sigterm_loses_none_of_the_requests_in_flight(tiny_artifact, make_pair):
    files = make_pair(0, 1200, 1600).files()  # tens of milliseconds each
    # a drain this long cannot run out on a busy machine; a stuck engine has a test of its own
    with process(*free_ports(tiny_artifact), "--decode-workers", 1, "--drain-s", 60) as started:
        url, target = wait_until_ready(started)
        statuses: list[int | str] = []

        def over_http():
            try:
                statuses.append(httpx.post(f"{url}/v1/segment", files=files, timeout=20, trust_env=False).status_code)
            except httpx.HTTPError as error:
                statuses.append(repr(error))

        def over_grpc():
            try:
                with grpc.insecure_channel(target) as channel:
                    statuses.append(SegmentationStub(channel).Segment(pb.SegmentRequest(images=files)).height)
            except grpc.RpcError as error:
                statuses.append(error.details())

        crowd = [threading.Thread(target=over_http) for _ in range(8)]
        crowd += [threading.Thread(target=over_grpc) for _ in range(4)]
        for thread in crowd:
            thread.start()
        while _in_flight(url) < len(crowd) and not statuses:
            time.sleep(0.001)  # until the server itself says that it has accepted them
        started.send_signal(signal.SIGTERM)
        for thread in crowd:
            thread.join(20)
        assert started.wait(15) == 0
    assert sorted(map(str, statuses)) == ["1200"] * 4 + ["200"] * 8


def test_sighup_drains_like_sigterm(tiny_artifact, pair):
    plain = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # whatever started the tests, such as nohup
    with process(*free_ports(tiny_artifact), script=plain + SERVE) as started:
        wait_until_ready(started)
        started.send_signal(signal.SIGHUP)
        assert "stopping: finishing" in started.stdout.readline()
        assert started.wait(15) == 0
    outliving = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "  # as nohup does
    with process(*free_ports(tiny_artifact), script=outliving + SERVE) as started:
        url, _ = wait_until_ready(started)
        started.send_signal(signal.SIGHUP)
        assert httpx.post(f"{url}/v1/segment", files=pair.files(), trust_env=False).status_code == 200


def _close_all_streams():
    for number in range(3):
        os.close(number)


def test_no_standard_stream_is_needed_to_serve(tiny_artifact, pair):
    reader, without_reader = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    streams = ({"stdout": without_reader, "stderr": full}, {"preexec_fn": _close_all_streams})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        servers = []
        for options in streams:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            command = [sys.executable, "-c", SERVE, *map(str, free_ports(tiny_artifact)), "--http-port", str(port)]
            started = subprocess.Popen(command, env=environment, **options)
            stack.callback(started.wait)
            stack.callback(started.kill)
            servers.append((started, f"http://127.0.0.1:{port}"))
        os.close(full)
        os.close(without_reader)
        until = time.monotonic() + 30
        for started, url in servers:
            while not _is_ready(url):
                assert started.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            assert httpx.post(f"{url}/v1/segment", files=pair.files(), trust_env=False).status_code == 200
            started.send_signal(signal.SIGTERM)
        assert [started.wait(15) for started, _ in servers] == [0, 0]


def _is_ready(url):
    try:
        return httpx.get(f"{url}/healthz/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _wait_for_in_flight(url, count):
    until = time.monotonic() + 10
    while (found := _in_flight(url)) < count:
        assert time.monotonic() < until, f"{found} of {count} requests arrived"
        time.sleep(0.01)


def _in_flight(url):
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return float(text.split("\ngeminifusion_in_flight ")[1].split()[0])


SLOW = textwrap.dedent("""
    import sys, threading
    from geminifusion_runtime.backends import onnx_runtime
    run = onnx_runtime.OnnxRuntimeBackend.run
    calls = []
    def stuck(self, inputs):
        calls.append(1)
        if len(calls) > 1:  # the warm-up passes
            threading.Event().wait()
        return run(self, inputs)
    onnx_runtime.OnnxRuntimeBackend.run = stuck
""")


def test_a_second_signal_stops_at_once(tiny_artifact, pair):
    with process(*free_ports(tiny_artifact), *UNMEASURED, "--drain-s", 600, script=SLOW + SERVE) as started:
        url, _ = wait_until_ready(started)
        client = threading.Thread(target=_post_and_ignore, args=(url, pair.files()))
        client.start()
        while _in_flight(url) < 1:
            time.sleep(0.001)
        started.send_signal(signal.SIGTERM)
        assert "stopping" in started.stdout.readline()
        started.send_signal(signal.SIGTERM)
        assert started.wait(15) == 1
        client.join(15)


def test_what_is_not_finished_when_the_drain_ends_gets_the_error_of_a_server_that_stops(tiny_artifact, pair):
    request = httpx.Request("POST", "http://x/v1/segment", files=pair.files())
    body, answers = request.read(), []
    head = (
        f"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: {request.headers['Content-Type']}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )

    def post(url):
        answers.append(httpx.post(f"{url}/v1/segment", files=pair.files(), trust_env=False, timeout=30))

    with process(*free_ports(tiny_artifact), *UNMEASURED, "--drain-s", 1, script=SLOW + SERVE) as started:
        url, target = wait_until_ready(started)
        # One is computed, one is queued, one comes over gRPC, and one is still arriving.
        clients = [threading.Thread(target=post, args=(url,)) for _ in range(2)]
        for client in clients:
            client.start()
        with (
            grpc.insecure_channel(target) as channel,
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=15) as arriving,
        ):
            arriving.sendall(head.encode())
            assert b" 100 " in arriving.recv(100)
            arriving.sendall(body[: len(body) // 2])
            call = SegmentationStub(channel).Segment.future(pb.SegmentRequest(images=pair.files()))
            _wait_for_in_flight(url, 3)
            started.send_signal(signal.SIGTERM)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            cut_short = arriving.recv(4096)
        for client in clients:
            client.join(15)
        assert started.wait(15) == 1
        assert "Traceback" not in started.stderr.read()
    assert [(answer.status_code, answer.headers["retry-after"], answer.json()["code"]) for answer in answers] == [
        (503, "1", "not_ready")
    ] * 2
    assert cut_short.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1\r\n" in cut_short


def test_the_drain_ends_when_its_time_is_over(tiny_artifact, pair):
    with process(*free_ports(tiny_artifact), *UNMEASURED, "--drain-s", 1, script=SLOW + SERVE) as started:
        url, _ = wait_until_ready(started)
        client = threading.Thread(target=_post_and_ignore, args=(url, pair.files()))
        client.start()
        while _in_flight(url) < 1:
            time.sleep(0.001)
        started.send_signal(signal.SIGINT)
        assert started.wait(15) == 1
        client.join(15)


# Nothing but the one warm-up run before the first request.
UNMEASURED = ("--max-batch", 1, "--self-test-interval-s", 0)
DYING = SLOW.replace("threading.Event().wait()", "raise SystemExit")


def test_a_dead_engine_fails_its_requests_and_asks_for_a_restart(tiny_artifact, pair):
    with process(*free_ports(tiny_artifact), *UNMEASURED, script=DYING + SERVE) as started:
        url, _ = wait_until_ready(started)
        first = httpx.post(f"{url}/v1/segment", files=pair.files(), trust_env=False)
        later = httpx.post(f"{url}/v1/segment", files=pair.files(), trust_env=False)
        live = httpx.get(f"{url}/healthz/live", trust_env=False)
        ready = httpx.get(f"{url}/healthz/ready", trust_env=False)
    assert (first.status_code, first.json()["code"]) == (500, "engine_failed")
    assert (later.status_code, later.json()["code"]) == (503, "not_ready")
    assert (live.status_code, ready.status_code) == (503, 503)


def _post_and_ignore(url, files):
    try:
        httpx.post(f"{url}/v1/segment", files=files, timeout=30, trust_env=False)
    except httpx.HTTPError:
        return


WITHOUT_TORCH = textwrap.dedent("""
    import sys
    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("torch", "onnx", "geminifusion_model"):
                raise AssertionError(f"{name} was imported while serving")
    sys.meta_path.insert(0, Refuse())
""")


def test_the_service_runs_where_importing_torch_raises(tiny_artifact, pair):
    with process(*free_ports(tiny_artifact), script=WITHOUT_TORCH + SERVE) as started:
        url, _ = wait_until_ready(started)
        for name in ("png", "palette", "json", "npz", "overlay"):
            answer = httpx.post(f"{url}/v1/segment?format={name}", files=pair.files(), trust_env=False)
            assert answer.status_code == 200
        started.send_signal(signal.SIGTERM)
        assert started.wait(15) == 0


def test_a_damaged_artifact_ends_the_process_with_one_line(tmp_path, make_artifact):
    directory = make_artifact(tmp_path / "damaged")
    (directory / "model.onnx").write_bytes(b"not a model")
    with process(*free_ports(directory)) as started:
        output, errors = started.communicate(timeout=20)
    assert started.returncode == 1
    assert "ready" not in output
    assert "SHA-256" in errors
    assert "Traceback" not in errors


def test_a_taken_port_ends_the_process_with_one_line(tiny_artifact):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process("--artifact", tiny_artifact, "--http-port", port, "--grpc-port", 0) as started:
            _, errors = started.communicate(timeout=20)
    assert started.returncode == 1
    assert f"{port}" in errors
    assert "--http-port" in errors
    assert "Traceback" not in errors


async def test_a_taken_grpc_port_is_a_startup_error(tiny_artifact):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(Settings.of(artifacts=(tiny_artifact,), http_port=0, grpc_port=port))
        with pytest.raises(StartupError, match="--grpc-port"):
            await server.start()
        await server.stop_now()


async def test_alive_at_once_ready_only_with_a_warm_model_and_never_while_draining(tiny_artifact, pair):
    settings = Settings.of(artifacts=(tiny_artifact,), http_port=0, grpc_port=0, threads=1, decode_isolation="thread")
    server = Server(settings)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}", trust_env=False) as client:
        assert (await client.get("/healthz/live")).status_code == 200
        before = await client.get("/healthz/ready")
        assert (before.status_code, before.json()) == (503, {"status": "starting"})
        early = await client.post("/v1/segment", files=pair.files())
        assert (early.status_code, early.json()["code"]) == (503, "not_ready")
        assert early.headers["retry-after"] == "1"
        await server.load()
        assert (await client.get("/healthz/ready")).status_code == 200
        server.segmenter.mark_draining()
        draining = await client.get("/healthz/ready")
        assert (draining.status_code, draining.json()) == (503, {"status": "draining"})
        late = await client.post("/v1/segment", files=pair.files())
        assert late.status_code == 200, "what was accepted before the listener closed is still served"
    assert await server.stop()


def test_two_models_are_served_side_by_side(tiny_artifact, tmp_path, make_artifact, pair):
    other = make_artifact(tmp_path / "other", name="other")
    with process(*free_ports(tiny_artifact), "--artifact", other) as started:
        url, _ = wait_until_ready(started)
        answers = [
            httpx.post(f"{url}/v1/segment", params={"model": name}, files=pair.files(), trust_env=False)
            for name in ("tiny", "other")
        ]
    assert [answer.headers["x-geminifusion-model"] for answer in answers] == ["tiny@1", "other@1"]
    np.testing.assert_equal(answers[0].content, answers[1].content)
