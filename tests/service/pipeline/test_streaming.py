"""Streams of frames without a transport: who is started, who waits, who gives way, and when frames are read."""

import asyncio
from contextlib import aclosing

import pytest

from geminifusion_service.errors import BodyTimeoutError, NotReadyError, QueueFullError
from geminifusion_service.pipeline.streaming import Streams


class Camera:
    """A source of frames that counts how many were taken from it, and an engine that answers when told."""

    def __init__(self, newest=False):
        self.newest = newest
        self.taken = 0
        self.sent = asyncio.Queue()
        self.started = []
        self.finished = []
        self.dropped = []
        self._answers = {}

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

    async def answer(self, number, frame):
        self.started.append(frame)
        self._answers[frame] = asyncio.get_running_loop().create_future()
        try:
            await self._answers[frame]
        except asyncio.CancelledError:
            self.dropped.append(frame)
            raise
        return (number, f"answer {frame}")

    def finish(self, *frames):
        for frame in frames:
            self._answers[frame].set_result(None)

    def answers(self, stream):
        return stream.answers(
            self.frames(),
            answer=self.answer,
            supersedable=lambda _: self.newest,
            superseded=lambda number, frame: (number, f"superseded {frame}"),
        )


async def settle():
    """Let everything that can happen without new events happen."""
    for _ in range(30):
        await asyncio.sleep(0)


def streams(most=4, idle_s=60.0):
    return Streams(most=most, idle_s=idle_s)


async def test_answers_come_in_the_order_of_the_frames():
    camera = Camera()
    camera.send("a", "b", "c")
    camera.hang_up()
    with streams().open() as stream:
        answers = camera.answers(stream)
        first = asyncio.ensure_future(anext(answers))
        await settle()
        camera.finish("c", "b")
        await settle()
        assert not first.done()
        camera.finish("a")
        assert [await first] + [answer async for answer in answers] == [
            (0, "answer a"), (1, "answer b"), (2, "answer c")
        ]  # fmt: skip


async def test_a_reader_that_sleeps_stops_the_reading_of_frames():
    camera = Camera()
    camera.send(*range(100))
    with streams().open() as stream:
        async with aclosing(camera.answers(stream)) as answers:
            first = asyncio.ensure_future(anext(answers))
            await settle()
            camera.finish(*camera.started)
            assert await first == (0, "answer 0")
            await settle()
            assert camera.started == [0, 1, 2, 3]
            taken = camera.taken
            assert taken == 5
            await settle()
            assert camera.taken == taken
            await anext(answers)  # the first was taken, so there is room for one more
            await settle()
            assert camera.started == [0, 1, 2, 3, 4]
            assert camera.taken == 6


async def test_the_newest_frame_takes_the_place_of_those_not_begun():
    camera = Camera(newest=True)
    camera.send("a", "b", "c", "d", "e")
    with streams().open() as stream:
        async with aclosing(camera.answers(stream)) as answers:
            assert await anext(answers) == (2, "superseded c"), "at once, while a and b are at the engine"
            assert await anext(answers) == (3, "superseded d")
            assert camera.started == ["a", "b"]
            camera.finish("a")
            assert await anext(answers) == (0, "answer a")
            camera.hang_up()
            second = asyncio.ensure_future(anext(answers))
            await settle()
            assert camera.started == ["a", "b", "e"]
            camera.finish("e", "b")
            assert await second == (1, "answer b")
            assert await anext(answers) == (4, "answer e")
            assert [answer async for answer in answers] == []


async def test_every_frame_is_answered_once_in_newest_mode():
    camera = Camera(newest=True)
    camera.send(*range(50))
    camera.hang_up()
    numbers = []
    with streams().open() as stream:
        async with aclosing(camera.answers(stream)) as answers:
            async for number, _ in answers:
                numbers.append(number)
                await settle()
                camera.finish(*(frame for frame in camera.started if not camera._answers[frame].done()))
    assert sorted(numbers) == list(range(50))


async def test_notes_that_nobody_reads_stop_the_reading_of_frames():
    camera = Camera(newest=True)
    camera.send(*range(1000))
    with streams().open() as stream:
        async with aclosing(camera.answers(stream)) as answers:
            assert await anext(answers) == (2, "superseded 2")
            await settle()
            for _ in range(100):
                await settle()
            assert camera.taken < 100
            taken = camera.taken
            await anext(answers)
            await settle()
            assert camera.taken == taken + 1


async def test_draining_answers_what_was_accepted_and_takes_no_more():
    camera = Camera()
    camera.send("a", "b")
    every = streams()
    with every.open() as stream:
        answers = camera.answers(stream)
        first = asyncio.ensure_future(anext(answers))
        await settle()
        draining = asyncio.create_task(every.drain(60))
        await settle()
        camera.send("late")
        await settle()
        assert camera.started == ["a", "b"]
        camera.finish("a", "b")
        assert await first == (0, "answer a")
        assert await anext(answers) == (1, "answer b")
        with pytest.raises(NotReadyError, match="stopping"):
            await anext(answers)
    assert await draining
    with pytest.raises(NotReadyError), every.open():
        pass


async def test_draining_gives_up_on_a_client_that_does_not_read():
    every = streams()
    with every.open():
        assert not await every.drain(0.01)


async def test_a_stream_without_frames_ends():
    camera = Camera()
    with streams(idle_s=0.01).open() as stream, pytest.raises(BodyTimeoutError, match=r"0\.01 s"):
        await anext(camera.answers(stream))


async def test_what_is_under_way_is_dropped_when_nobody_waits_any_more():
    camera = Camera()
    camera.send("a", "b")
    with streams().open() as stream:
        answers = camera.answers(stream)
        waiting = asyncio.ensure_future(anext(answers))
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await settle()
        assert camera.dropped == ["a", "b"]


async def test_a_client_that_is_gone_ends_the_stream_at_once():
    camera = Camera()
    camera.send("a", ConnectionResetError("gone"))
    with streams().open() as stream, pytest.raises(ConnectionResetError):
        await anext(camera.answers(stream))
    await settle()
    assert camera.dropped == ["a"]


async def test_only_so_many_streams_are_open():
    every = streams(most=2)
    with every.open(), every.open(), pytest.raises(QueueFullError, match="2 streams"), every.open():
        pass
    with every.open():
        assert every.num_open == 1
