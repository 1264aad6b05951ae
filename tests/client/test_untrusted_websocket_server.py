"""Over a WebSocket too, a client takes no more of a server than the frames it sent can need; V24."""

import json
import socket
import threading
import time

import numpy as np
import pytest
from tests.client.conftest import facts
from tests.client.stream_calls import RGB, stream, stream_on_a_loop
from websockets.sync.server import serve

from geminifusion import Client
from geminifusion.errors import InvalidResponseError, ResponseTimeoutError, ServerUnreachableError

LARGE = np.zeros((512, 512, 3), np.uint8)
ANSI = "\x1b[2Jred\r\nforged: line\u202e"
MOST = "more than 1052672 bytes"


def frame(number=0, side=16, class_id=1, **changed):
    return facts(side, class_id, frame=number, **changed).decode()


@pytest.fixture
def evil():
    """`evil(handler)`: address of a server that hands its WebSockets to `handler`."""
    running = []

    def start(handler):
        server = serve(handler, "127.0.0.1", 0, max_size=2**24, compression=None)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.socket.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join(5)


def answering(*messages):
    """A handler that sends these once the first frame came."""

    def handler(connection):
        connection.recv()
        for message in messages:
            connection.send(message)
        for _ in connection:
            pass

    return handler


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(" " * 2_000_000, MOST, id="large"),
        pytest.param(frame(side=4000), "labels of 4000x4000 pixels for an image of 16x16", id="size"),
        pytest.param(frame(class_id=999), "class 999", id="class"),
        pytest.param(frame(classes=[{}] * 257), "a list of 257 classes", id="many classes"),
        pytest.param(frame(gate={"dtype": "float16", "data": "", "shape": [0, 10**30]}), "a map of", id="empty map"),
        pytest.param("[" * 1_000_000, "RecursionError", id="nested"),
        pytest.param(b"\xff", "not one of geminifusion's", id="no text"),
        pytest.param(frame(7), "responded to frame 7", id="unknown frame"),
        pytest.param('{"frame": [0]}', r"responded to frame \[0\]", id="no number"),
    ],
)
def test_what_cannot_be_the_response_to_the_frame_is_rejected(evil, message, said):
    url = evil(answering(message))
    for ask in (stream, stream_on_a_loop):
        with pytest.raises(InvalidResponseError, match=said):
            ask(url)


def test_each_frame_has_the_bound_of_its_own_image(evil):
    padded = ["x" * 2_000_000]

    def after_both(first):
        def handler(connection):
            connection.recv()
            connection.recv()
            connection.send(first)
            connection.send(frame(1, 512, warnings=padded))
            connection.recv()  # the end

        return evil(handler)

    with pytest.raises(InvalidResponseError, match=MOST):
        stream(after_both(frame(0, warnings=padded)), [RGB, LARGE])
    assert [response.error for response in stream(after_both(frame(0)), [RGB, LARGE])] == [None, None]


def test_a_stream_ends_at_its_timeout_whatever_the_server_does(evil):
    def pings_only(connection):
        connection.recv()
        connection.send(frame())
        for _ in range(40):
            connection.ping()
            time.sleep(0.05)

    url, begin = evil(pings_only), time.monotonic()
    for ask in (stream, stream_on_a_loop):
        with pytest.raises(ResponseTimeoutError, match=r"responded to no frame within 0\.4 s"):
            ask(url, [RGB] * 2, timeout=0.4)
        with pytest.raises(ResponseTimeoutError, match=r"did not end the stream within 0\.4 s"):
            ask(url, timeout=0.4)
    assert time.monotonic() - begin < 4


def test_a_message_that_is_sent_by_drops_is_late(evil):
    def dripping(connection):
        connection.recv()
        connection.send(" " for _ in iter(lambda: time.sleep(0.05) or not stopped.is_set(), False))

    stopped = threading.Event()
    try:
        with pytest.raises(ResponseTimeoutError, match=r"responded to no frame within 0\.4 s"):
            stream(evil(dripping), timeout=0.4)
    finally:
        stopped.set()


def test_a_handshake_that_never_ends_is_late():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ResponseTimeoutError, match=r"opened no stream within 0\.4 s"):
            stream(url, timeout=0.4)


def test_what_nobody_asked_for_is_left_on_the_wire(evil):
    sent, over = [], threading.Event()

    def flooding(connection):
        connection.recv()
        connection.send(frame())
        for number in range(5000):
            connection.send(frame(number, warnings=["x" * 500_000]))
            sent.append(number)
            if over.is_set():
                return

    with Client(evil(flooding), retries=0) as client:
        responses = client.stream([RGB] * 3)
        next(responses)
        before = -1
        while before < (before := len(sent)):
            time.sleep(0.5)
        assert before < 200
        over.set()
        with pytest.raises(InvalidResponseError, match="responded to frame 0"):
            list(responses)


def test_a_stream_that_ends_too_soon_is_an_error(evil):
    with pytest.raises(ServerUnreachableError, match="ended the stream and did not say why"):
        stream(evil(lambda connection: connection.recv()))


def test_nothing_of_a_server_commands_the_terminal(evil):
    problem = {"frame": 0, "error": {"code": ANSI, "detail": ANSI, "status": 400}}
    (failed,) = stream(evil(ended(json.dumps(problem))))
    share = {"id": 1, "name": ANSI, "color": [0, 0, 0], "pixels": 1, "fraction": 1.0, "median_depth_m": None}
    (taken,) = stream(evil(ended(frame(classes=[share], warnings=[ANSI], model=ANSI, request_id=ANSI))))
    with pytest.raises(ServerUnreachableError) as closed:
        stream(evil(lambda connection: connection.close(1011, ANSI)))
    for text in (
        str(failed.error),
        failed.error.code,
        *taken.result.table().split("\n"),
        *taken.result.warnings,
        repr(taken.result),
        taken.result.request_id,
        str(closed.value),
    ):
        assert text.isprintable(), text


def ended(message):
    """A handler that sends this and ends the stream once the client has."""

    def handler(connection):
        connection.recv()
        connection.send(message)
        connection.recv()

    return handler
