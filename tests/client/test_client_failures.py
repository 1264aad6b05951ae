"""What a client says and does when the other side is absent, busy, slow, or somebody else.

The other side is a scripted HTTP server on the loopback: the real service cannot be brought into each state.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from geminifusion import AsyncClient, Client
from geminifusion.errors import (
    ClientError,
    DeadlineExceededError,
    InvalidInputError,
    InvalidResponseError,
    RequestRejectedError,
    ResponseTimeoutError,
    ServerBusyError,
    ServerError,
    ServerUnreachableError,
)
from geminifusion.options import segment_call
from geminifusion.server_process import open_port
from geminifusion.wire import result_from_json
from geminifusion_runtime.png_encoder import encode_png

RGB = np.zeros((2, 3, 3), np.uint8)
DEPTH = np.ones((2, 3), np.float32)
ANSWER = {
    "model": "tiny@1",
    "size": {"height": 2, "width": 3},
    "classes": [{"id": 4, "name": "wall", "color": [1, 2, 3], "pixels": 6, "fraction": 1.0, "median_depth_m": None}],
    "mask": {"rle": [{"class_id": 4, "size": [2, 3], "counts": "06"}]},
    "timings_ms": {"compute": 1.5},
    "warnings": ["half of it is dark"],
    "request_id": "r1",
    "batch_size": 1,
}


def problem(status, code, **headers):
    body = {"title": "t", "status": status, "detail": f"about {code}", "code": code, "request_id": "r9"}
    return status, json.dumps(body).encode(), headers


@pytest.fixture
def scripted():
    """A server that gives the scripted answers in order, and keeps what was asked of it."""
    script, asked = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            status, body, headers = script.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.script, server.asked = script, asked
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(scripted, waits):
    with Client(scripted.url, timeout=5, sleep=waits.append) as client:
        yield client


def test_answer_becomes_a_result(client, scripted):
    scripted.script.append((200, json.dumps(ANSWER).encode(), {}))
    result = client.segment(RGB, DEPTH, depth_scale=0.5, model="tiny", deadline_ms=900, request_id="mine")
    assert result.labels.tolist() == [[4, 4, 4], [4, 4, 4]]
    assert result.classes[0].color == (1, 2, 3)
    assert (result.confidence, result.warnings) == (None, ("half of it is dark",))
    path, body = scripted.asked[0]
    for option in ("format=json", "depth_scale=0.5", "model=tiny", "deadline_ms=900", "request_id=mine"):
        assert option in path
    assert b'name="rgb"' in body
    assert b"\x93NUMPY" in body


def test_busy_server_is_asked_again_after_the_time_it_advises(client, scripted, waits):
    scripted.script += [
        problem(429, "queue_full", Retry_After="3"),
        problem(503, "not_ready"),
        (200, json.dumps(ANSWER).encode(), {}),
    ]
    assert client.segment(RGB, DEPTH).model == "tiny@1"
    assert waits == [3.0, 0.2]


async def test_async_client_is_as_patient(scripted):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    scripted.script += [problem(429, "queue_full", Retry_After="2"), (200, json.dumps(ANSWER).encode(), {})]
    async with AsyncClient(scripted.url, sleep=sleep) as client:
        assert (await client.segment(RGB, DEPTH)).model == "tiny@1"
    assert waits == [2.0]


def test_patience_ends_after_the_retries_it_was_given(client, scripted):
    scripted.script += [problem(429, "queue_full", Retry_After="0")] * 3
    with pytest.raises(ServerBusyError, match="about queue_full") as caught:
        client.segment(RGB, DEPTH)
    assert caught.value.retry_after == 0
    assert len(scripted.asked) == 3


def test_advice_to_wait_longer_than_the_timeout_is_not_taken(client, scripted, waits):
    scripted.script.append(problem(503, "not_ready", Retry_After="60"))
    with pytest.raises(ServerBusyError):
        client.segment(RGB, DEPTH)
    assert waits == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "undecodable_image", RequestRejectedError),
        (422, "size_mismatch", RequestRejectedError),
        (500, "internal", ServerError),
        (504, "deadline_exceeded", DeadlineExceededError),
    ],
)
def test_problem_document_becomes_an_error_that_carries_it(client, scripted, status, code, kind):
    scripted.script.append(problem(status, code))
    with pytest.raises(kind, match=f"about {code}") as caught:
        client.segment(RGB, DEPTH)
    assert (caught.value.code, caught.value.status, caught.value.request_id) == (code, status, "r9")


def test_error_of_something_in_between_shows_its_text(client, scripted):
    scripted.script.append((502, b"<h1>Bad gateway</h1>", {}))
    with pytest.raises(ServerError, match="responded 502: <h1>Bad gateway") as caught:
        client.segment(RGB, DEPTH)
    assert caught.value.code == "server_error"


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", json.dumps(ANSWER | {"mask": {"rle": []}}).encode()])
def test_answer_of_another_service_is_named_as_such(client, scripted, body):
    scripted.script.append((200, body, {}))
    with pytest.raises(InvalidResponseError, match="not one of geminifusion's"):
        client.segment(RGB, DEPTH)


def test_refused_connection_names_the_address():
    url = f"http://127.0.0.1:{open_port(0, '127.0.0.1')}"
    with Client(url) as client:
        assert not client.ready()
        with pytest.raises(ServerUnreachableError, match=f"nothing responds at {url}.*geminifusion serve"):
            client.models()


def test_slow_answer_says_how_long_was_waited():
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        url = f"http://127.0.0.1:{silent.server_address[1]}"
        with Client(url, timeout=0.05) as client, pytest.raises(ResponseTimeoutError, match=r"within 0\.05 s"):
            client.segment(RGB, DEPTH)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "", "http://host:port"])
def test_addresses_that_cannot_work_are_refused_at_once(url):
    with pytest.raises(InvalidInputError, match="no usable address"):
        Client(url)


@pytest.mark.parametrize(
    ("rgb", "depth", "message"),
    [
        ("/nowhere/rgb.png", DEPTH, "rgb file '/nowhere/rgb.png' cannot be read"),
        (RGB[..., 0], DEPTH, "rgb is a uint8 array of shape"),
        (RGB, DEPTH.astype(np.int32), "depth is a int32 array"),
        (RGB, 3.5, "depth is a float"),
    ],
)
def test_input_that_cannot_be_sent_is_refused_before_sending(client, scripted, rgb, depth, message):
    with pytest.raises(InvalidInputError, match=message):
        client.segment(rgb, depth)
    assert scripted.asked == []


def test_options_out_of_range_are_refused(client):
    with pytest.raises(InvalidInputError, match="metres per stored unit"):
        client.segment(RGB, DEPTH, depth_scale=0)
    for markers in (float("nan"), range(9), "65535", "x", 10**400):
        with pytest.raises(InvalidInputError, match="depth_invalid"):
            client.segment(RGB, DEPTH, depth_invalid=markers)
    with pytest.raises(InvalidInputError, match="seconds above 0"):
        Client("http://localhost:1", timeout=0)


def test_every_error_is_a_client_error_with_a_code():
    kinds, codes = [ClientError], []
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        codes.append(kind("text").code)
    assert len(codes) == len(set(codes)) >= 10  # those of modules that are imported


def test_grpc_address_without_grpcio_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "geminifusion.grpc_transport", raising=False)
    with pytest.raises(ClientError, match=r'needs grpc; run: pip install "geminifusion\[client\]"'):
        Client("grpc://localhost:8001")


def test_overlay_of_encoded_bytes_without_opencv_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = result_from_json(json.dumps(ANSWER).encode(), segment_call({"rgb": encode_png(RGB)}, {}))
    with pytest.raises(ClientError, match=r'needs cv2; run: pip install "geminifusion\[client\]"'):
        result.overlay()
