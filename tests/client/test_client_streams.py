"""`Client.stream` and `AsyncClient.stream` against a running server; addresses, keys and limits that go with them."""

import asyncio
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from websockets.sync.server import serve

from geminifusion import AsyncClient, Client
from geminifusion.connection import Credentials
from geminifusion.errors import (
    ClientError,
    InvalidInputError,
    InvalidResponseError,
    RequestRejectedError,
    ServerBusyError,
    ServerError,
    ServerUnreachableError,
)
from geminifusion_runtime.model import Model
from geminifusion_service.server import Server
from geminifusion_service.settings import Settings


@contextmanager
def server(artifact, **settings):
    """The addresses of a server in a thread of its own, by scheme."""
    up, addresses = threading.Event(), {}

    async def main():
        few = {"threads": 1, "decode_isolation": "thread"}
        running = Server(Settings.of(artifacts=(artifact,), http_port=0, grpc_port=0, **few, **settings))
        await running.start()
        await running.load()
        stop = asyncio.Event()
        addresses.update(grpc=running.grpc_port, http=running.http_port, loop=asyncio.get_running_loop(), stop=stop)
        up.set()
        await stop.wait()
        await running.stop()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert up.wait(20)
    try:
        yield {scheme: f"{scheme}://127.0.0.1:{addresses[scheme]}" for scheme in ("grpc", "http")}
    finally:
        addresses["loop"].call_soon_threadsafe(addresses["stop"].set)
        thread.join(20)


@pytest.fixture(scope="module")
def addresses(tiny_artifact):
    with server(tiny_artifact) as urls:
        yield urls


@pytest.fixture(params=["grpc", "http"])
def address(addresses, request):
    return addresses[request.param]


def frames(count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), rng.uniform(0.5, 4, (48, 64)).astype(np.float32)


def test_a_stream_gives_what_single_calls_give(address):
    with Client(address) as client:
        answers = list(client.stream(frames(6), gate=True))
        assert [answer.number for answer in answers] == list(range(6))
        for answer, (rgb, depth) in zip(answers, frames(6), strict=True):
            alone = client.segment(rgb, depth)
            np.testing.assert_array_equal(answer.result.labels, alone.labels)
            np.testing.assert_array_equal(answer.result.gate, alone.gate)
            np.testing.assert_array_equal(answer.result.overlay(), alone.overlay())


def test_the_async_stream_gives_the_same(address):
    async def collect():
        async def source():
            for frame in frames(6):
                yield frame

        async with AsyncClient(address) as client:
            return [answer async for answer in client.stream(source())]

    with Client(address) as client:
        expected = [answer.result.labels for answer in client.stream(frames(6))]
    answers = asyncio.run(collect())
    np.testing.assert_array_equal([answer.result.labels for answer in answers], expected)


def test_a_bad_frame_is_an_answer_and_the_stream_goes_on(address):
    (good,) = frames(1)
    with Client(address) as client:
        first, second, third = client.stream([good, (b"broken", good[1]), good])
    assert isinstance(second.error, RequestRejectedError)
    assert second.error.code == "undecodable_image"
    assert not second.superseded
    np.testing.assert_array_equal(first.result.labels, third.result.labels)


def test_every_frame_is_answered_in_newest_mode(address):
    with Client(address) as client:
        answers = list(client.stream(frames(40), mode="newest"))
    assert sorted(answer.number for answer in answers) == list(range(40))
    begun = [answer.number for answer in answers if answer.result is not None]
    assert begun == sorted(begun)
    assert 39 in begun, "nothing is newer than the last"
    assert all(answer.superseded for answer in answers if answer.result is None)


def test_the_newest_frame_wins_while_the_engine_is_busy(address, monkeypatch):
    go, run = threading.Event(), Model.run_stacked

    def held(model, *arguments):
        assert go.wait(5)
        return run(model, *arguments)

    monkeypatch.setattr(Model, "run_stacked", held)
    with Client(address) as client:
        stream = client.stream(frames(8), mode="newest")
        gave_way = [next(stream) for _ in range(5)]
        go.set()
        rest = list(stream)
    assert [answer.number for answer in gave_way] == [2, 3, 4, 5, 6]
    assert all(answer.superseded for answer in gave_way)
    assert [answer.number for answer in rest if answer.result is not None] == [0, 1, 7]


def test_a_stream_that_is_left_early_ends(address):
    with Client(address) as client:
        stream = client.stream(frames(1000))
        assert next(stream).number == 0
        stream.close()
        assert client.ready()


def test_an_error_of_the_source_reaches_the_caller(address):
    def source():
        yield from frames(2)
        raise RuntimeError("the camera fell off")

    with Client(address) as client, pytest.raises(RuntimeError, match="fell off"):
        list(client.stream(source()))


@pytest.mark.parametrize("scheme", ["grpc", "http", "https"])
def test_a_stream_to_nobody_says_so(scheme):
    with Client(f"{scheme}://127.0.0.1:1") as client, pytest.raises(ServerUnreachableError):
        list(client.stream(frames(1)))


def test_modes_that_cannot_be(address):
    with Client(address) as client, pytest.raises(InvalidInputError, match="newest"):
        client.stream(frames(1), mode="fastest")


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_message_beyond_the_limit_is_called_too_large(tiny_artifact, scheme):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    frame = noise, np.ones((300, 400), np.float32)
    with server(tiny_artifact, max_body_bytes=1024) as urls, Client(urls[scheme]) as client:
        for ask in (lambda: client.segment(*frame), lambda: list(client.stream([frame]))):
            with pytest.raises(RequestRejectedError) as refused:
                ask()
            assert (refused.value.code, refused.value.status) == ("body_too_large", 413)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_stream_that_may_not_be_opened_says_why(tiny_artifact, scheme):
    with server(tiny_artifact, max_streams=1) as urls, Client(urls[scheme]) as client:
        first = client.stream(frames(1000))
        next(first)
        with pytest.raises(ServerBusyError) as refused:
            next(client.stream(frames(1)))
        assert (refused.value.code, refused.value.status, refused.value.retry_after) == ("queue_full", 429, 1)
        first.close()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_ends_a_stream_says_why(tiny_artifact, scheme):
    more = threading.Event()

    def source():
        yield from frames(2)
        more.wait(20)

    with server(tiny_artifact, stream_idle_s=0.2) as urls, Client(urls[scheme]) as client:
        stream = client.stream(source())
        assert [next(stream).number, next(stream).number] == [0, 1]
        with pytest.raises(ServerError) as ended:
            next(stream)
        assert (ended.value.code, ended.value.status) == ("body_timeout", 408)
        more.set()


def test_frames_are_not_taken_while_nobody_asks_for_answers(addresses):
    taken = []

    def source():
        for frame in frames(150):
            taken.append(None)
            yield frame

    with Client(addresses["http"]) as client:
        stream = client.stream(source())
        next(stream)
        before = 0
        while before != len(taken):  # until nothing moves any more
            before = len(taken)
            time.sleep(0.1)
        assert 10 < before <= 65
        assert [answer.number for answer in stream] == list(range(1, 150))


def test_a_source_that_waits_keeps_nobody_from_leaving(addresses):
    more = threading.Event()

    def source():
        yield from frames(1)
        more.wait(20)

    with Client(addresses["http"]) as client:
        stream = client.stream(source())
        next(stream)
        begun = time.monotonic()
        stream.close()
        assert time.monotonic() - begun < 5
        assert not [one.name for one in threading.enumerate() if one.name == "geminifusion-stream"]
    more.set()


def test_options_hold_for_every_frame(address):
    depth_mm = np.full((48, 64), 65535, np.uint16)
    depth_mm[:24] = 3000
    (rgb, _), *_ = frames(1)
    with Client(address) as client:
        (answer,) = client.stream([(rgb, depth_mm)], depth_scale=0.0001, depth_invalid=[65535, 1.5], model="tiny@1")
        alone = client.segment(rgb, depth_mm, depth_scale=0.0001, depth_invalid=[65535, 1.5])
        np.testing.assert_array_equal(answer.result.labels, alone.labels)
        assert answer.result.sensors["depth"].holes == alone.sensors["depth"].holes >= 0.4
        (answer,) = client.stream([(rgb, depth_mm)], model="huge")
        assert (answer.error.code, answer.error.status) == ("model_not_found", 404)
        assert answer.error.request_id


def test_what_is_no_geminifusion_server_is_named_as_such(addresses):
    with Client(addresses["http"] + "/elsewhere") as client, pytest.raises(ServerError) as refused:
        list(client.stream(frames(1)))
    assert refused.value.status in (403, 404)


@contextmanager
def another_server(handler, **options):
    """The address of a WebSocket server that is not ours."""
    with serve(handler, "127.0.0.1", 0, **options) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{other.socket.getsockname()[1]}"
        finally:
            other.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("behave", "kind", "text"),
    [
        (lambda socket: socket.send("hello"), InvalidResponseError, "not one of geminifusion's"),
        (lambda socket: socket.send("[]"), InvalidResponseError, "not one of geminifusion's"),
        (lambda socket: socket.send('{"frame": 5}'), InvalidResponseError, "frame 5, which was not sent"),
        (lambda socket: socket.send('{"frame": 0}'), InvalidResponseError, "not one of geminifusion's"),
        (lambda socket: socket.close(), ServerUnreachableError, "did not say why"),
        (lambda socket: socket.socket.shutdown(2), ServerUnreachableError, "broke"),
    ],
)
def test_a_stream_that_goes_wrong_is_an_error_of_ours(behave, kind, text):
    def handler(socket):
        socket.recv()
        behave(socket)

    with another_server(handler) as url, Client(url) as client, pytest.raises(kind, match=text):
        list(client.stream(frames(1)))


def test_a_stream_follows_no_redirection():
    def redirect(connection, _):
        response = connection.respond(302, "")
        response.headers["Location"] = "/elsewhere"
        return response

    not_followed = pytest.raises(InvalidResponseError, match="302")
    with another_server(lambda _: None, process_request=redirect) as url, Client(url) as client, not_followed:
        list(client.stream(frames(1)))


def test_a_stream_over_http_names_the_library_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    monkeypatch.delitem(sys.modules, "geminifusion.websocket_stream", raising=False)
    needs = pytest.raises(ClientError, match=r'http:// .* needs websockets.* pip install "geminifusion\[client\]"')
    with Client("http://127.0.0.1:1") as client, needs as missing:
        client.stream(frames(1))
    assert missing.value.code == "missing_extra"


def test_access_that_makes_no_sense_is_refused_before_anything_is_sent(tmp_path):
    with pytest.raises(InvalidInputError, match="both or none"):
        Client("grpcs://localhost:1", certificate=tmp_path / "client.pem")
    with pytest.raises(InvalidInputError, match="header"):
        Client("http://localhost:1", api_key="a\nb")
    for url in ("grpcs://localhost:1", "https://localhost:1"):
        with pytest.raises(InvalidInputError, match="PEM"):
            Client(url, ca=tmp_path / "missing.pem")
    assert "secret" not in repr(Credentials(api_key="secret"))
