"""`/v1/stream` with a real WebSocket client: the same bits, order, errors, limits and end as the gRPC stream."""

import contextlib
import json
import logging
import socket as socket_module
import struct
import threading
import time

import cv2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from geminifusion_runtime.model import Model
from geminifusion_service.transport.http import websocket_limits


def message(files, **options):
    head = json.dumps({"images": {name: len(data) for name, data in files.items()}, **options}).encode()
    return struct.pack("<I", len(head)) + head + b"".join(files.values())


def parsed(answer):
    """Head and file of an answer."""
    if isinstance(answer, str):
        return json.loads(answer), b""
    (length,) = struct.unpack_from("<I", answer)
    return json.loads(answer[4 : 4 + length]), answer[4 + length :]


def marked_files(pair):
    """A pair whose upper half of depth was not measured, marked by the largest value."""
    depth = pair.depth_mm.copy()
    depth[: len(depth) // 2] = 65535
    return pair.files(depth=cv2.imencode(".png", depth)[1].tobytes())


def opened(live, query="", **options):
    address = live.url.replace("http", "ws") + "/v1/stream" + query
    return connect(address, proxy=None, compression=None, **options)


@pytest.fixture
def socket(live_server):
    with opened(live_server) as made:
        yield made


def test_masks_are_the_bytes_of_http(socket, live_server, pair):
    for number, name in enumerate(("png", "palette", "overlay")):
        socket.send(message(pair.files(), format=name, request_id=f"f{number}"))
        head, mask = parsed(socket.recv())
        assert mask == live_server.post(pair.files(), format=name).content
        assert (head["frame"], head["request_id"], head["model"]) == (number, f"f{number}", "tiny@1")
        assert head["mask"] == {"format": name, "bytes": len(mask), "size": [48, 64]}


def test_json_answers_are_text_and_those_of_http(socket, live_server, pair):
    socket.send(message(pair.files(), format="json", confidence=True))
    answer = socket.recv()
    assert isinstance(answer, str)
    http = live_server.post(pair.files(), format="json", confidence=1).json()
    for name in ("mask", "classes", "confidence", "size"):
        assert json.loads(answer)[name] == http[name]


@pytest.mark.parametrize("markers", [65535, [65535, 1.5]])
def test_marks_of_no_measurement_are_a_number_or_a_list(socket, live_server, pair, markers):
    socket.send(message(marked_files(pair), format="png", depth_invalid=markers))
    head, mask = parsed(socket.recv())
    assert mask == live_server.post(marked_files(pair), depth_invalid="65535,1.5").content
    assert head["sensors"]["depth"]["holes"] >= 0.25


def test_answers_come_in_order_and_a_bad_frame_does_not_end_the_stream(socket, make_pair):
    sizes = [(400, 500), (48, 64), (48, 64), (300, 300), (48, 64)]
    for number, size in enumerate(sizes):
        files = make_pair(number, *size).files()
        if number == 2:
            files["rgb"] = b"broken"
        socket.send(message(files, request_id=f"f{number}"))
    socket.send("end")
    heads = [parsed(answer)[0] for answer in socket]
    assert [(head["frame"], head["request_id"]) for head in heads] == [(n, f"f{n}") for n in range(5)]
    assert ["error" in head for head in heads] == [False, False, True, False, False]
    assert heads[2]["error"]["code"] == "undecodable_image"
    assert heads[2]["error"]["status"] == 400
    assert socket.close_code == 1000


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", "malformed_body"),
        (b"\x01\x00", "malformed_body"),
        (struct.pack("<I", 2**32 - 1) + b"{}", "malformed_body"),
        (struct.pack("<I", 2) + b"no", "malformed_body"),
        (struct.pack("<I", 2) + b"[]", "malformed_body"),
        (struct.pack("<I", 2) + b"{}", "malformed_body"),
        (message({"rgb": b"12345"})[:-1], "malformed_body"),
        (message({"rgb": b"12345"}, images={"rgb": -1}), "malformed_body"),
        (message({"rgb": b"12345"}, images={"rgb": True}), "malformed_body"),
        (message({}, colour="red"), "invalid_option"),
        (message({}, depth_scale="1"), "invalid_option"),
        (message({}, depth_scale=10**400), "invalid_option"),
        (message({}, depth_invalid="65535"), "invalid_option"),
        (message({}, depth_invalid=True), "invalid_option"),
        (message({}, depth_invalid=[True]), "invalid_option"),
        (message({}, depth_invalid=[10**400]), "invalid_option"),
        (message({}, depth_invalid=[1] * 9), "invalid_option"),
        (message({}, confidence=1), "invalid_option"),
        (message({}, deadline_ms=True), "invalid_option"),
        (message({}, format="bmp"), "invalid_option"),
        (message({}, model="huge"), "model_not_found"),
        (message({}), "missing_part"),
        ("hello", "unsupported_media_type"),
    ],
)
def test_what_cannot_be_read_is_answered_and_the_stream_goes_on(socket, pair, sent, code):
    socket.send(sent)
    head, _ = parsed(socket.recv())
    assert (head["frame"], head["error"]["code"]) == (0, code)
    socket.send(message(pair.files()))
    assert parsed(socket.recv())[0]["frame"] == 1


def refusal(live, query="", **options):
    with pytest.raises(InvalidStatus) as refused, opened(live, query, **options):
        pass
    return refused.value.response


def test_pages_from_elsewhere_are_refused(live_server):
    response = refusal(live_server, origin="https://elsewhere.example")
    assert response.status_code == 403
    problem = json.loads(response.body)
    assert (problem["code"], problem["status"]) == ("forbidden", 403)
    assert "--cors-origins" in problem["detail"]
    assert response.headers["Content-Type"] == "application/problem+json"
    with opened(live_server, origin=live_server.url) as own:
        assert own.ping().wait(5)


@pytest.mark.parametrize(("port", "status"), [("", 101), (":443", 101), (":80", 403)])
def test_behind_a_proxy_a_default_port_in_the_name_of_the_server_changes_nothing(live_server, port, status):
    with socket_module.create_connection(("127.0.0.1", live_server.server.http_port), timeout=5) as connection:
        connection.sendall(
            f"GET /v1/stream HTTP/1.1\r\nHost: robot{port}\r\nOrigin: https://robot\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize("query", ["?mode=fast", "?modus=newest", "?mode=newest&mode=ordered"])
def test_unknown_modes_are_refused_at_the_door(live_server, query):
    response = refusal(live_server, query)
    assert (response.status_code, json.loads(response.body)["code"]) == (400, "invalid_option")


def test_a_refusal_is_no_error_of_the_server(live_server, caplog):
    refusal(live_server, origin="https://elsewhere.example")
    refusal(live_server, "?mode=fast")
    with pytest.raises(InvalidStatus) as missing, connect(live_server.url.replace("http", "ws") + "/v1/none"):
        pass
    assert missing.value.response.status_code == 403
    assert not [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


def test_text_that_is_no_utf_8_ends_the_stream_and_is_no_error_of_the_server(live_server, caplog):
    with opened(live_server) as socket:
        socket.send([b"\xff\xfe", b"end"], text=True)
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv()
    assert ended.value.rcvd.code == 1007
    assert "send frames as binary messages" in ended.value.rcvd.reason
    assert not [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


def test_no_banner_and_no_body_at_the_door(live_server):
    with opened(live_server) as socket:
        assert "Server" not in socket.response.headers


def test_only_so_many_streams_are_let_in(serving):
    with serving(max_streams=1) as live, opened(live):
        response = refusal(live)
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "1"
        assert json.loads(response.body)["code"] == "queue_full"


def test_a_message_beyond_the_limit_ends_the_stream(serving, pair):
    with serving(max_body_bytes=1024) as live, opened(live) as socket:
        with contextlib.suppress(ConnectionClosed):  # it may come while the rest is sent
            socket.send(bytes(200_000))
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1009
        with opened(live) as another:
            assert another.ping().wait(5)


@contextlib.contextmanager
def too_long_a_message(live):
    """A bare connection whose stream has begun a message of more than the limit."""
    with socket_module.create_connection(("127.0.0.1", live.server.http_port), timeout=10) as connection:
        connection.sendall(
            b"GET /v1/stream HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        connection.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 30) + bytes(4))
        yield connection


def test_a_client_that_sends_its_long_message_to_the_end_still_reads_why_it_was_not_taken(serving):
    with serving(max_body_bytes=1024) as live, too_long_a_message(live) as connection:
        for _ in range(64):
            connection.sendall(bytes(128 * 1024))
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer[:1] == b"\x88"
        assert struct.unpack_from(">H", answer, 2) == (1009,)


def test_a_client_that_never_stops_is_not_listened_to_for_ever(serving, monkeypatch):
    monkeypatch.setattr(websocket_limits, "_DRAIN_S", 0.2)
    with serving(max_body_bytes=1024) as live, too_long_a_message(live) as connection:

        def send_on():
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                connection.sendall(bytes(1024))
                time.sleep(0.01)

        with pytest.raises(ConnectionError):
            send_on()


def test_a_resting_stream_ends_with_a_reason(serving):
    with serving(stream_idle_s=0.1) as live, opened(live) as socket:
        head, _ = parsed(socket.recv())
        assert head["error"]["code"] == "body_timeout"
        assert "frame" not in head
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert (socket.close_code, socket.close_reason) == (1001, "body_timeout")


@pytest.fixture
def hold(monkeypatch):
    """`hold.clear()` stops the engine, `hold.set()` lets it go on."""
    go = threading.Event()
    go.set()
    run = Model.run_stacked

    def held(model, *arguments):
        assert go.wait(20)
        return run(model, *arguments)

    monkeypatch.setattr(Model, "run_stacked", held)
    yield go
    go.set()


def in_flight(live):
    return float(live.get("/metrics").text.split("\ngeminifusion_in_flight ")[1].split()[0])


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def test_the_newest_frame_wins_when_asked_for(live_server, hold, pair):
    hold.clear()
    with opened(live_server, "?mode=newest") as socket:
        for number in range(8):
            socket.send(message(pair.files(), request_id=f"f{number}"))
        heads = [parsed(socket.recv())[0] for _ in range(5)]
        assert [head["frame"] for head in heads] == [2, 3, 4, 5, 6]
        assert {head["error"]["code"] for head in heads} == {"frame_superseded"}
        hold.set()
        socket.send("end")
        assert [parsed(answer)[0]["frame"] for answer in socket] == [0, 1, 7]


def test_a_client_that_goes_takes_its_frames_with_it(live_server, hold, pair):
    hold.clear()
    with opened(live_server) as socket:
        for _ in range(4):
            socket.send(message(pair.files()))
        until(lambda: in_flight(live_server) == 4)
    until(lambda: in_flight(live_server) == 0)


def test_stopping_answers_accepted_frames_and_then_ends_the_stream(serving, hold, pair):
    with serving(drain_s=20) as live, opened(live) as socket:
        hold.clear()
        for _ in range(3):
            socket.send(message(pair.files()))
        until(lambda: in_flight(live) == 3)
        stopping = threading.Thread(target=live.stop)
        stopping.start()
        time.sleep(0.1)
        hold.set()
        heads = [parsed(socket.recv())[0] for _ in range(4)]
        stopping.join(20)
        assert [head.get("frame") for head in heads] == [0, 1, 2, None]
        assert heads[3]["error"]["code"] == "not_ready"
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert socket.close_code == 1001


def test_a_client_that_does_not_read_is_not_read_from(live_server, make_pair):
    sent = []
    large = message(make_pair(0, 300, 400).files(), format="overlay")
    with opened(live_server, max_queue=1) as socket:

        def send():
            try:
                while True:
                    socket.send(large)
                    sent.append(len(large))
            except ConnectionClosed:
                return

        sender = threading.Thread(target=send)
        sender.start()
        before = -1
        while before != len(sent):  # until nothing moves any more
            before = len(sent)
            time.sleep(0.3)
        assert before < 300
        socket.socket.shutdown(2)  # a close frame would wait behind what is not read
        sender.join(10)
    until(lambda: in_flight(live_server) == 0)
