"""`Client.stream` and its async twin against a running server; addresses, keys and limits that go with them."""

import asyncio
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from geminifusion.access import Access
from geminifusion.client import AsyncClient, Client
from geminifusion.errors import BadInput, RequestRefused, ServerUnreachable
from geminifusion_service.server import Server
from geminifusion_service.settings import Settings


@contextmanager
def server(artifact, **settings):
    """The gRPC address of a server in a thread of its own."""
    up, addresses = threading.Event(), {}

    async def main():
        running = Server(Settings(artifacts=(artifact,), http_port=0, grpc_port=0, threads=1, **settings))
        await running.start()
        await running.load()
        stop = asyncio.Event()
        addresses.update(port=running.grpc_port, loop=asyncio.get_running_loop(), stop=stop)
        up.set()
        await stop.wait()
        await running.stop()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert up.wait(20)
    try:
        yield f"grpc://127.0.0.1:{addresses['port']}"
    finally:
        addresses["loop"].call_soon_threadsafe(addresses["stop"].set)
        thread.join(20)


@pytest.fixture(scope="module")
def address(tiny_artifact):
    with server(tiny_artifact) as url:
        yield url


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
    assert isinstance(second.error, RequestRefused)
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


def test_a_stream_to_nobody_says_so():
    with Client("grpc://127.0.0.1:1") as client, pytest.raises(ServerUnreachable):
        list(client.stream(frames(1)))


def test_streams_and_modes_that_cannot_be(address):
    with Client(address) as client, pytest.raises(BadInput, match="newest"):
        client.stream(frames(1), mode="fastest")
    with Client("http://127.0.0.1:1") as client, pytest.raises(BadInput, match="grpc://"):
        client.stream(frames(1))


def test_a_message_beyond_the_limit_is_called_too_large(tiny_artifact):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    too_large = pytest.raises(RequestRefused, match="--max-body-bytes")
    with server(tiny_artifact, max_body_bytes=1024) as url, Client(url) as client, too_large as refused:
        client.segment(noise, np.ones((300, 400), np.float32))
    assert (refused.value.code, refused.value.status) == ("body_too_large", 413)


def test_access_that_makes_no_sense_is_refused_before_anything_is_sent(tmp_path):
    with pytest.raises(BadInput, match="both or none"):
        Client("grpcs://localhost:1", certificate=tmp_path / "client.pem")
    with pytest.raises(BadInput, match="header"):
        Client("http://localhost:1", api_key="a\nb")
    for url in ("grpcs://localhost:1", "https://localhost:1"):
        with pytest.raises(BadInput, match="PEM"):
            Client(url, ca=tmp_path / "missing.pem")
    assert "secret" not in repr(Access(api_key="secret"))
