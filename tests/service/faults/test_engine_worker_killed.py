"""kill -9 of an engine's process: its batch fails retryably, everything else is answered, and it is back at once."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BACK_WITHIN_S = 10.0


def children(pid):
    """The processes that a process started; its threads may each have some."""
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def worker_of(server):
    """The one process with the engine in it."""
    commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children(server.process.pid)}
    (found,) = [child for child, command in commands.items() if b"engine_process" in command]
    return found


def test_only_the_batch_of_a_killed_worker_fails_and_it_is_back_soon(server_process, pair):
    with server_process("--engine-isolation", "process") as server:
        assert server.post(pair.files()).status_code == 200
        worker = worker_of(server)
        os.kill(worker, signal.SIGSTOP)  # so that the batch is in it for certain
        answers = []
        doomed = threading.Thread(target=lambda: answers.append(server.post(pair.files())))
        doomed.start()
        until = time.monotonic() + 20
        while server.metric("geminifusion_in_flight") < 1 or server.metric("geminifusion_queue_depth") > 0:
            assert time.monotonic() < until, "the request did not reach the engine"
        time.sleep(0.2)
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        assert server.post(pair.files()).status_code == 200
        assert time.monotonic() - killed < BACK_WITHIN_S
        doomed.join(30)
        (answer,) = answers
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_lost")
        assert int(answer.headers["Retry-After"]) >= 1
        assert worker_of(server) != worker
        assert server.get("/healthz/live").status_code == 200
        assert server.terminate() == 0


def test_a_worker_killed_under_load_costs_no_more_than_its_batch(server_process, make_pair):
    files = make_pair(0, 240, 320).files()
    most = 4
    with server_process("--engine-isolation", "process", "--max-batch", most) as server:
        answers, stop = [], threading.Event()

        def client():
            while not stop.is_set():
                answer = server.post(files)
                answers.append("ok" if answer.status_code == 200 else answer.json()["code"])

        threads = [threading.Thread(target=client) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        os.kill(worker_of(server), signal.SIGKILL)
        killed = len(answers)
        until = time.monotonic() + BACK_WITHIN_S
        while "ok" not in answers[killed + most + 6 :]:
            assert time.monotonic() < until, answers[killed:]
            time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert set(answers) <= {"ok", "engine_lost"}
        assert answers.count("engine_lost") <= most
