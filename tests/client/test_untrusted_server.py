"""A client takes no more of a server than the images it sent can need, whatever the server sends; V24."""

import asyncio
import gzip
import io
import json
import socket
import threading
import time
import tracemalloc

import numpy as np
import pytest
from tests.client.conftest import facts
from tests.conftest import encode

from geminifusion import AsyncClient, Client
from geminifusion.errors import ClientError, InvalidResponseError, RequestRejectedError, ResponseTimeoutError
from geminifusion.response_limits import image_size, max_response_bytes

RGB = np.zeros((16, 16, 3), np.uint8)
BOMB = gzip.compress(bytes(50_000_000), 1)


def response(body, *, status="200 OK", headers=""):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@pytest.fixture
def evil():
    """`evil(data)`: address of a server that answers any request with these bytes, or with these pieces in turn."""
    stops = []

    def serve(data, pause_s=0.0):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.05)
        stopped = threading.Event()

        def answer():
            while not stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(2)
                    received = b""
                    try:
                        while b"\r\n\r\n" not in received:
                            received += connection.recv(65536)
                        for piece in data if pause_s else (data,):
                            connection.sendall(bytes([piece]) if pause_s else piece)
                            if stopped.wait(pause_s):
                                return
                        if not pause_s:
                            connection.shutdown(socket.SHUT_WR)
                            while connection.recv(65536):
                                pass
                    except OSError:
                        pass

        thread = threading.Thread(target=answer)
        thread.start()
        stops.append((stopped, listener, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for stopped, listener, thread in stops:
        stopped.set()
        thread.join(5)
        listener.close()


def segment(url, image=RGB, timeout=5.0):
    with Client(url, timeout=timeout, retries=0) as client:
        return client.segment(image)


def test_a_good_response_is_taken(evil):
    assert segment(evil(response(facts()))).labels.shape == (16, 16)
    packed = response(gzip.compress(facts()), headers="Content-Encoding: gzip\r\n")
    assert segment(evil(packed)).labels.shape == (16, 16)


def test_an_answer_of_another_size_is_called_what_it_is(evil, make_street):
    street = make_street()
    stream = io.BytesIO()
    np.save(stream, np.zeros((20, 20, 3), np.uint8))
    with (
        Client(evil(response(facts(20))), retries=0) as client,
        pytest.raises(InvalidResponseError, match="boxes of 20x20 pixels for an image of 200x60"),
    ):
        client.detect(street.rgb, street.points, street.calibration)
    with (
        Client(evil(response(stream.getvalue())), retries=0) as client,
        pytest.raises(InvalidResponseError, match="an image of 20x20 pixels for an image of 16x16"),
    ):
        client.translate(rgb=RGB)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            response(BOMB, headers="Content-Encoding: gzip\r\n"),
            "more than 1052672 bytes",
        ),
        (response(b" " * 2_000_000), "more than 1052672 bytes"),
        (response(b"x" * 100, headers="Content-Encoding: gzip\r\n"), "is no gzip"),
        (response(b"x", headers="Content-Encoding: br\r\n"), "encoded as 'br'"),
        (response(facts(4000)), "labels of 4000x4000 pixels for an image of 16x16"),
        (response(facts(16, 999)), "class 999"),
        (response(facts(16, -1)), "class -1"),
        (response(b"[" * 1_000_000), "RecursionError"),
        (response(facts(size={"height": 1e400, "width": 1})), "OverflowError"),
        (response(facts(batch_size=1e999)), "OverflowError"),
        (response(facts(classes=[{"id": 300, "name": "a", "color": [0, 0, 0]}])), "300 is no number from 0 to 255"),
        (response(facts(confidence={"dtype": "float16", "data": "", "shape": [10**30]})), "not one of geminifusion's"),
        (response(b"", status="204 No Content"), "responded 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", "responded 302"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_the_response_to_the_image_is_rejected(evil, data, said):
    url = evil(data)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidResponseError, match=said):
            segment(url)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()

    async def ask():
        async with AsyncClient(url, timeout=5, retries=0) as client:
            await client.segment(RGB)

    with pytest.raises(InvalidResponseError, match=said):
        asyncio.run(ask())


@pytest.mark.parametrize("data", [response(facts()), b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000], ids=["body", "head"])
def test_the_timeout_is_for_the_whole_response(evil, data):
    url, begin = evil(data, pause_s=0.05), time.monotonic()
    with pytest.raises(ResponseTimeoutError, match=r"did not respond within 0\.4 s"):
        segment(url, timeout=0.4)

    async def ask():
        async with AsyncClient(url, timeout=0.4, retries=0) as client:
            await client.segment(RGB)

    with pytest.raises(ResponseTimeoutError, match=r"did not respond within 0\.4 s"):
        asyncio.run(ask())
    assert time.monotonic() - begin < 1.5


def test_nothing_of_a_server_commands_the_terminal(evil):
    ansi = "\x1b[2Jred\r\nforged: line\u202e"
    problem = json.dumps({"detail": ansi, "code": ansi, "request_id": ansi}).encode()
    with pytest.raises(RequestRejectedError) as rejected:
        segment(evil(response(problem, status="400 Bad Request")))
    shown = (str(rejected.value), rejected.value.code, rejected.value.request_id)
    share = {"id": 1, "name": ansi, "color": [0, 0, 0], "pixels": 1, "fraction": 1.0, "median_depth_m": None}
    result = segment(evil(response(facts(classes=[share], warnings=[ansi], model=ansi, request_id=ansi))))
    with Client(evil(response(json.dumps({"models": [{"name": ansi, "labels": [ansi]}]}).encode()))) as client:
        (model,) = client.models()
    for text in (
        *shown,
        *result.table().split("\n"),
        *result.warnings,
        repr(result),
        result.request_id,
        *map(str, model.values()),
    ):
        assert text.isprintable()


@pytest.mark.parametrize("body", [b"[" * 10**6, b"nothing", b'{"models": 5}', b'{"models": [5]}', b"{}"])
def test_a_list_of_models_that_is_none_is_an_invalid_response(evil, body):
    with Client(evil(response(body)), retries=0) as client, pytest.raises(InvalidResponseError):
        client.models()


@pytest.mark.parametrize("body", [b"[" * 10**6, b"\xff" * 5_000_000, b'{"detail": ' + b"9" * 5000 + b"}"])
def test_an_error_that_cannot_be_read_is_an_error_all_the_same(evil, body):
    with pytest.raises(ClientError):
        segment(evil(response(body, status="500 Internal Server Error")))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_size_of_an_image_is_read_off_its_header(suffix):
    image = encode(suffix, np.zeros((30, 50, 3), np.uint8))
    assert image_size(image) == (30, 50)
    assert max_response_bytes({"rgb": image}) < 2**21
    assert image_size(image[:9]) is None
    assert image_size(b"II*\0") is None
    assert max_response_bytes({"rgb": image, "depth": b"II*\0"}) == 2**28
