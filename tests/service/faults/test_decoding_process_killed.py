"""kill -9 of decoding processes under load: nobody notices, and none outlives the server."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def wait_for_more(answers):
    """Until every client got another two answers: so that no request meets two killed decoders."""
    enough, until = [len(one) + 2 for one in answers], time.monotonic() + 60
    while any(len(one) < count for one, count in zip(answers, enough, strict=True)):
        assert time.monotonic() < until, "requests are not answered any more"
        time.sleep(0.01)


def test_requests_survive_their_decoders_and_decoders_end_with_the_server(server_process, make_pair):
    files = make_pair(0, 240, 320).files()
    with server_process("--decode-isolation", "process", "--decode-workers", 2) as server:
        expected = server.post(files).content
        answers, stop = [[], [], []], threading.Event()

        def client(mine):
            while not stop.is_set():
                mine.append(server.post(files))

        clients = [threading.Thread(target=client, args=(mine,)) for mine in answers]
        for thread in clients:
            thread.start()
        for _ in range(4):
            wait_for_more(answers)
            os.kill(server.decoders()[0], signal.SIGKILL)
        wait_for_more(answers)
        stop.set()
        for thread in clients:
            thread.join(30)
        assert {answer.status_code for mine in answers for answer in mine} == {200}
        assert {answer.content for mine in answers for answer in mine} == {expected}
        running = server.decoders()
        assert len(running) == 2
        assert server.terminate() == 0
        assert not [decoder for decoder in running if Path(f"/proc/{decoder}").exists()]
