"""kill -9 of decoding processes under load: nobody notices, and none outlives the server."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def decoders_of(server):
    """The decoding processes that a server runs now."""
    found = []
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline")
            if command.exists() and b"decoder_process" in command.read_bytes():
                found.append(int(child))
    return found


def wait_for_more(answers, count=6):
    """Until so many more requests were answered: a request may meet one killed decoder, and not two."""
    enough, until = len(answers) + count, time.monotonic() + 60
    while len(answers) < enough:
        assert time.monotonic() < until, "requests are not answered any more"
        time.sleep(0.01)


def test_requests_survive_their_decoders_and_decoders_end_with_the_server(server_process, make_pair):
    files = make_pair(0, 240, 320).files()
    with server_process("--decode-isolation", "process", "--decode-workers", 2) as server:
        expected = server.post(files).content
        answers, stop = [], threading.Event()

        def client():
            while not stop.is_set():
                answers.append(server.post(files))

        clients = [threading.Thread(target=client) for _ in range(3)]
        for thread in clients:
            thread.start()
        for _ in range(4):
            wait_for_more(answers)
            os.kill(decoders_of(server)[0], signal.SIGKILL)
        wait_for_more(answers)
        stop.set()
        for thread in clients:
            thread.join(30)
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.content for answer in answers} == {expected}
        running = decoders_of(server)
        assert len(running) == 2
        assert server.terminate() == 0
        assert not [decoder for decoder in running if Path(f"/proc/{decoder}").exists()]
