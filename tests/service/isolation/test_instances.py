"""Several engine instances, and engines in processes, behind a live server."""

import os
import signal
import threading
import time
from collections import Counter

import httpx
import pytest


def instance_processes(live):
    """Process ids of the engines, of every model and device."""
    models = live.server.segmenter.models
    return [backend.process_id for model in models for backend in model.backends]


def test_two_instances_answer_as_one(serving, make_pair):
    with serving(devices="cpu,cpu") as live, httpx.Client(trust_env=False) as client:
        url = f"{live.url}/v1/segment"
        for seed in range(6):
            pair = make_pair(seed)
            answer = client.post(url, params={"format": "npz"}, files=pair.files())
            assert answer.status_code == 200
        names = {thread.name for thread in threading.enumerate()}
        assert {"engine-0", "engine-1"} <= names


def test_an_instance_keeps_to_its_cores(serving, pair):
    core = min(os.sched_getaffinity(0))
    others = set(threading.enumerate())  # of other servers in this process
    with serving(devices=f"cpu:{core}") as live:
        assert live.post(pair.files()).status_code == 200
        (engine,) = (one for one in set(threading.enumerate()) - others if one.name == "engine-0")
        assert os.sched_getaffinity(engine.native_id) == {core}
        assert len(os.sched_getaffinity(0)) >= 1


@pytest.mark.slow
def test_a_killed_engine_process_fails_its_batch_alone_and_is_back_within_ten_seconds(serving, make_pair):
    files = [make_pair(seed).files() for seed in range(8)]
    answers, moments, stop = Counter(), [], threading.Event()

    def client(number):
        with httpx.Client(trust_env=False, timeout=30) as http:
            while not stop.is_set():
                answer = http.post(f"{live.url}/v1/segment", files=files[number])
                code = answer.json()["code"] if answer.status_code != 200 else "ok"
                answers[code] += 1
                if code == "ok":
                    moments.append(time.monotonic())
                else:
                    assert answer.status_code == 503
                    assert int(answer.headers["retry-after"]) >= 1

    with serving(engine_isolation="process", max_batch=1) as live:
        crowd = [threading.Thread(target=client, args=(number,)) for number in range(len(files))]
        for thread in crowd:
            thread.start()
        for _ in range(2):
            (victim,) = instance_processes(live)
            time.sleep(0.5)
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            while not any(moment > killed + 0.05 for moment in moments[-50:]):
                assert time.monotonic() < killed + 10, "not back within ten seconds"
                time.sleep(0.01)
            time.sleep(0.3)
            assert instance_processes(live) != [victim]
        assert live.get("/healthz/ready").status_code == 200
        stop.set()
        for thread in crowd:
            thread.join(30)
            assert not thread.is_alive()
    assert set(answers) <= {"ok", "engine_lost"}
    assert answers["engine_lost"] <= 2  # with batches of one, one request for each kill
    assert answers["ok"] > 50


@pytest.mark.slow
def test_an_engine_that_keeps_dying_turns_readiness_off_and_comes_back(serving, pair):
    with serving(engine_isolation="process") as live:
        end = time.monotonic() + 30
        while live.get("/healthz/ready").status_code == 200:
            assert time.monotonic() < end, "three deaths in a minute did not turn readiness off"
            for process_id in instance_processes(live):
                if process_id is not None:
                    os.kill(process_id, signal.SIGKILL)
            time.sleep(0.05)
        refused = live.post(pair.files())
        assert refused.status_code == 503
        assert refused.json()["code"] == "engine_lost"
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert live.get("/healthz/live").status_code == 200
        while live.get("/healthz/ready").status_code != 200:
            assert time.monotonic() < end, "readiness did not come back after the pause"
            time.sleep(0.1)
        assert live.post(pair.files()).status_code == 200
