"""Streams of frames without a transport: order, superseded frames, back-pressure and drain."""

import asyncio
from contextlib import aclosing

import pytest

from geminifusion_service.errors import BodyTimeoutError, NotReadyError, QueueFullError
from geminifusion_service.pipeline.streaming import StreamManager


class Camera:
    """A source of frames that counts how many were taken from it, and an engine that responds when told."""

    def __init__(self, newest=False):
        self.newest = newest
        self.taken = 0
        self.sent = asyncio.Queue()
        self.started = []
        self.finished = []
        self.cancelled = []
        self._futures = {}

    def send(self, *frames):
        for frame in frames:
            self.sent.put_nowait(frame)

    def hang_up(self):
        self.sent.put_nowait(None)

    async def frames(self):
        while True:
            frame = await self.sent.get()
            if frame is None:
                return
            if isinstance(frame, Exception):
                raise frame
            self.taken += 1
            yield frame

    async def respond(self, number, frame):
        self.started.append(frame)
        self._futures[frame] = asyncio.get_running_loop().create_future()
        try:
            await self._futures[frame]
        except asyncio.CancelledError:
            self.cancelled.append(frame)
            raise
        return (number, f"response {frame}")

    def finish(self, *frames):
        for frame in frames:
            self._futures[frame].set_result(None)

    def responses(self, stream):
        return stream.responses(
            self.frames(),
            respond=self.respond,
            supersedable=lambda _: self.newest,
            superseded=lambda number, frame: (number, f"superseded {frame}"),
        )


async def settle():
    """Let everything that can happen without new events happen."""
    for _ in range(30):
        await asyncio.sleep(0)


def streams(max_streams=4, idle_s=60.0):
    return StreamManager(max_streams=max_streams, idle_s=idle_s)


async def test_responses_come_in_the_order_of_the_frames():
    camera = Camera()
    camera.send("a", "b", "c")
    camera.hang_up()
    with streams().open() as stream:
        responses = camera.responses(stream)
        first = asyncio.ensure_future(anext(responses))
        await settle()
        camera.finish("c", "b")
        await settle()
        assert not first.done()
        camera.finish("a")
        assert [await first] + [response async for response in responses] == [
            (0, "response a"), (1, "response b"), (2, "response c")
        ]  # fmt: skip


async def test_frames_are_not_read_while_responses_are_not_taken():
    camera = Camera()
    camera.send(*range(100))
    with streams().open() as stream:
        async with aclosing(camera.responses(stream)) as responses:
            first = asyncio.ensure_future(anext(responses))
            await settle()
            camera.finish(*camera.started)
            assert await first == (0, "response 0")
            await settle()
            assert camera.started == [0, 1, 2, 3]
            taken = camera.taken
            assert taken == 5
            await settle()
            assert camera.taken == taken
            await anext(responses)  # the first was taken, so there is room for one more
            await settle()
            assert camera.started == [0, 1, 2, 3, 4]
            assert camera.taken == 6


async def test_the_newest_frame_supersedes_those_not_started():
    camera = Camera(newest=True)
    camera.send("a", "b", "c", "d", "e")
    with streams().open() as stream:
        async with aclosing(camera.responses(stream)) as responses:
            assert await anext(responses) == (2, "superseded c"), "at once, while a and b are at the engine"
            assert await anext(responses) == (3, "superseded d")
            assert camera.started == ["a", "b"]
            camera.finish("a")
            assert await anext(responses) == (0, "response a")
            camera.hang_up()
            second = asyncio.ensure_future(anext(responses))
            await settle()
            assert camera.started == ["a", "b", "e"]
            camera.finish("e", "b")
            assert await second == (1, "response b")
            assert await anext(responses) == (4, "response e")
            assert [response async for response in responses] == []


async def test_every_frame_is_answered_once_in_newest_mode():
    camera = Camera(newest=True)
    camera.send(*range(50))
    camera.hang_up()
    numbers = []
    with streams().open() as stream:
        async with aclosing(camera.responses(stream)) as responses:
            async for number, _ in responses:
                numbers.append(number)
                await settle()
                camera.finish(*(frame for frame in camera.started if not camera._futures[frame].done()))
    assert sorted(numbers) == list(range(50))


async def test_frames_are_not_read_while_responses_to_superseded_frames_are_not_taken():
    camera = Camera(newest=True)
    camera.send(*range(1000))
    with streams().open() as stream:
        async with aclosing(camera.responses(stream)) as responses:
            assert await anext(responses) == (2, "superseded 2")
            await settle()
            for _ in range(100):
                await settle()
            assert camera.taken < 100
            taken = camera.taken
            await anext(responses)
            await settle()
            assert camera.taken == taken + 1


async def test_draining_answers_accepted_frames_and_accepts_no_more():
    camera = Camera()
    camera.send("a", "b")
    manager = streams()
    with manager.open() as stream:
        responses = camera.responses(stream)
        first = asyncio.ensure_future(anext(responses))
        await settle()
        draining = asyncio.create_task(manager.drain(60))
        await settle()
        camera.send("late")
        await settle()
        assert camera.started == ["a", "b"]
        camera.finish("a", "b")
        assert await first == (0, "response a")
        assert await anext(responses) == (1, "response b")
        with pytest.raises(NotReadyError, match="stopping"):
            await anext(responses)
    assert await draining
    with pytest.raises(NotReadyError), manager.open():
        pass


async def test_draining_gives_up_on_a_client_that_does_not_read():
    manager = streams()
    with manager.open():
        assert not await manager.drain(0.01)


async def test_a_stream_ends_when_no_frame_comes():
    camera = Camera()
    with streams(idle_s=0.01).open() as stream, pytest.raises(BodyTimeoutError, match=r"0\.01 s"):
        await anext(camera.responses(stream))


async def test_frames_in_flight_are_cancelled_when_nobody_waits_any_more():
    camera = Camera()
    camera.send("a", "b")
    with streams().open() as stream:
        responses = camera.responses(stream)
        waiting = asyncio.ensure_future(anext(responses))
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await settle()
        assert camera.cancelled == ["a", "b"]


async def test_a_client_that_is_gone_ends_the_stream_at_once():
    camera = Camera()
    camera.send("a", ConnectionResetError("gone"))
    with streams().open() as stream, pytest.raises(ConnectionResetError):
        await anext(camera.responses(stream))
    await settle()
    assert camera.cancelled == ["a"]


async def test_the_number_of_open_streams_is_limited():
    manager = streams(max_streams=2)
    with manager.open(), manager.open(), pytest.raises(QueueFullError, match="2 streams"), manager.open():
        pass
    with manager.open():
        assert manager.num_open == 1
