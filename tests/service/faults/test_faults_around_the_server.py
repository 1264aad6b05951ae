"""What goes wrong around a server that serves: its files vanish, no byte can be written, the clock jumps."""

import shutil
import time

import cv2
import numpy as np
import pytest

# Every write to a file fails from here on, as on a full disk; what is a pipe or a socket is not touched.
NO_FILE_CAN_GROW = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "


def labels_in(answer):
    assert answer.status_code == 200, answer.text
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_an_artifact_deleted_while_serving_is_served_on(server_process, make_artifact, tmp_path, pair):
    artifact = make_artifact(tmp_path / "doomed")
    with server_process(artifact=artifact) as server:
        shutil.rmtree(artifact)
        assert np.array_equal(labels_in(server.post(pair.files())), pair.labels)
        assert server.get("/v1/models/tiny").status_code == 200
        assert server.get("/healthz/ready").status_code == 200


@pytest.mark.slow
def test_no_answer_needs_a_byte_of_disk(server_process, make_pair):
    large = make_pair(0, 1200, 1600)  # beyond what form parsers keep in memory
    with server_process(preamble=NO_FILE_CAN_GROW) as server:
        for wanted in ("png", "palette", "overlay", "npz", "json"):
            answer = server.post(large.files(), format=wanted)
            assert answer.status_code == 200, answer.text
        assert server.terminate() == 0


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
def test_a_clock_jump_changes_no_deadline(serving, pair, monkeypatch, jump_s):
    real = time.time
    with serving() as live:
        assert live.post(pair.files(), deadline_ms=5000).status_code == 200
        monkeypatch.setattr(time, "time", lambda: real() + jump_s)
        for _ in range(5):
            assert np.array_equal(labels_in(live.post(pair.files(), deadline_ms=5000)), pair.labels)
        assert live.get("/healthz/ready").status_code == 200
