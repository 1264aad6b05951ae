"""`geminifusion label-studio` as a process, between a real server of ours and the requests that Label Studio sends."""

import os
import re
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest

from geminifusion import load

brush = pytest.importorskip("label_studio_converter.brush")

CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">
<Label value="Dark near"/><Label value="Far" predicted_values="dark far,bright far"/></BrushLabels></View>"""
LOGIN = ("labels", "secret")


def start(arguments, log):
    """The backend on a free port, and its address once it listens."""
    command = [sys.executable, "-P", "-m", "geminifusion", "label-studio", "--port", "0", *map(str, arguments)]
    environment = os.environ | {"BASIC_AUTH_USER": LOGIN[0], "BASIC_AUTH_PASS": LOGIN[1]}
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    limit = time.monotonic() + 90
    while time.monotonic() < limit and process.poll() is None:
        if found := re.search(r"running on (http://\S+)", log.read_text()):
            return process, found[1]
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module", params=["a server", "this process"])
def backend(request, live_server, tiny_artifact, pair, tmp_path_factory):
    log = tmp_path_factory.mktemp("backend") / "log"
    model = ["--url", live_server.http_url] if request.param == "a server" else ["--artifact", tiny_artifact]
    process, url = start([*model, "--files", pair.rgb_path.parent], log)
    with httpx.Client(base_url=url, auth=LOGIN, timeout=60) as http:
        http.log = log
        yield http
    process.terminate()
    assert process.wait(20) in (0, -15)
    assert "Traceback" not in log.read_text()


def task(number=1, rgb="/data/local-files/?d=room.png", **data):
    return {"id": number, "data": {"image": rgb, "depth": "/data/local-files/?d=room_depth.png"} | data}


def predict(backend, tasks, config=CONFIG):
    body = {"tasks": tasks, "model_version": "x", "project": "1.2", "label_config": config, "params": {"context": None}}
    return backend.post("/predict", json=body)


def test_health_setup_and_events_answer_as_documented(backend):
    assert backend.get("/health").json() == {"status": "UP", "model_class": "tiny@1"}
    setup = backend.post(
        "/setup", json={"project": "1.2", "schema": CONFIG, "hostname": "http://ls", "access_token": "t"}
    )
    assert (setup.status_code, setup.json()) == (200, {"model_version": "tiny@1"})
    for action, status in (("ANNOTATION_CREATED", 201), ("START_TRAINING", 201), ("TASKS_DELETED", 200)):
        assert backend.post("/webhook", json={"action": action, "project": {"id": 1}}).status_code == status


def test_masks_are_the_models_and_labels_the_projects(backend, pair, tiny_artifact, inline):
    here = load(tiny_artifact, threads=1)(pair.rgb_path, pair.depth_path)
    both, from_data = predict(backend, [task(), task(2, rgb=inline)]).json()["results"]
    assert both["model_version"] == "tiny@1"
    assert both["score"] == pytest.approx(float(here.confidence.mean()), abs=1e-3)
    wanted = {"Dark near": here.labels == 0, "Far": (here.labels == 1) | (here.labels == 3)}
    found = {}
    for region in both["result"]:
        assert region["type"] == "brushlabels"
        assert (region["from_name"], region["to_name"]) == ("tag", "image")
        assert (region["original_width"], region["original_height"]) == (70, 50)
        assert region["value"]["format"] == "rle"
        (label,) = region["value"]["brushlabels"]
        found[label] = brush.decode_rle(region["value"]["rle"]).reshape(50, 70, 4)[..., 3] == 255
    assert found.keys() == wanted.keys()
    for label, mask in wanted.items():
        np.testing.assert_array_equal(found[label], mask)
    assert [region["value"] for region in from_data["result"]] == [region["value"] for region in both["result"]]


def test_a_task_that_fails_leaves_the_others_alone_and_is_told(backend):
    good, bad = predict(backend, [task(), task(7, rgb="http://example.org/a.png")]).json()["results"]
    assert good["result"]
    assert (bad["result"], bad["score"]) == ([], 0.0)
    assert "--allow-host example.org:80" in bad["error"]
    assert f"task 7: {bad['error']}\n" in backend.log.read_text()


NO_DEPTH = {"depth": ""}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/predict", {"tasks": [task(rgb="/nothing")], "label_config": CONFIG}, "--label-studio"),
        ("/predict", {"tasks": [task(**NO_DEPTH)], "label_config": CONFIG}, "depth"),
        ("/predict", {"tasks": [{"id": 1, "data": {"text": "a"}}], "label_config": CONFIG}, "no address in 'image'"),
        ("/predict", {"tasks": [task(depth=3)], "label_config": CONFIG}, "is a int; expected the address"),
        ("/predict", {"tasks": 1, "label_config": CONFIG}, "no list of tasks"),
        ("/predict", {"tasks": []}, "no labelling configuration in 'label_config'"),
        ("/predict", [], "no JSON object"),
        ("/setup", {"schema": CONFIG.replace("ark near", "x").replace("far", "y")}, "is a class of the model"),
        ("/setup", {"schema": "<View/>"}, "no brush labels"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_one_sentence(backend, path, body, said):
    response = backend.post(path, json=body)
    assert 400 <= response.status_code < 500
    assert said in response.json()["error"]
    assert "\n" not in response.json()["error"]


def test_a_wrong_password_is_refused(backend):
    for auth in (None, (LOGIN[0], "x"), ("", "")):
        response = httpx.get(f"{backend.base_url}/health", auth=auth)
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Basic")
    assert httpx.get(f"{backend.base_url}/health", headers={"Authorization": "Basic é".encode()}).status_code == 401


def test_a_server_that_is_gone_is_told(tmp_path):
    process, url = start(["--url", "http://127.0.0.1:9"], tmp_path / "log")
    try:
        response = httpx.get(f"{url}/health", auth=LOGIN)
        assert response.status_code == 502
        assert "nothing responds at http://127.0.0.1:9" in response.json()["error"]
    finally:
        process.terminate()
        process.wait(20)
