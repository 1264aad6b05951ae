"""Models changing under a real server, while clients keep asking."""

import hashlib
import shutil
import threading
import time
from collections import Counter

import httpx
import pytest

NUM_CLIENTS = 8


@pytest.fixture
def repository(tmp_path, make_artifact):
    make_artifact(tmp_path / "models" / "tiny" / "1")
    return tmp_path / "models"


@pytest.fixture
def publish(repository, tmp_path, make_artifact):
    """`publish("2")`: a whole version, by a rename."""

    def put(version):
        make_artifact(tmp_path / "staged", version=version).rename(repository / "tiny" / version)

    return put


class Crowd:
    """Clients that post one after the other until they are told to stop; `answers` counts what they got."""

    def __init__(self, url, files, **query):
        self.answers: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(url, files, query), daemon=True) for _ in range(NUM_CLIENTS)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _ask(self, url, files, query):
        with httpx.Client(trust_env=False, timeout=20) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"{url}/v1/segment", files=files, params=query)
                    got = answer.headers.get("x-geminifusion-model") or f"{answer.status_code} {answer.text}"
                except httpx.HTTPError as error:
                    got = repr(error)
                self.answers[got] += 1

    def wait_for(self, answer):
        deadline = time.monotonic() + 20
        while self.answers[answer] < NUM_CLIENTS:
            assert time.monotonic() < deadline, f"no {answer}, but {self.answers}"
            time.sleep(0.01)


def test_versions_are_swapped_under_load_without_a_failed_request(repository, publish, serving, pair):
    with serving(artifacts=(), model_repository=str(repository), model_poll_s=0.02, queue_size=64) as live:
        with Crowd(live.url, pair.files()) as crowd:
            crowd.wait_for("tiny@1")
            for version in ("2", "3"):
                publish(version)
                crowd.wait_for(f"tiny@{version}")
            shutil.rmtree(repository / "tiny" / "3")
            crowd.wait_for("tiny@2")
        assert set(crowd.answers) == {"tiny@1", "tiny@2", "tiny@3"}


def test_a_version_is_loaded_again_by_request_under_load(repository, serving, pair, make_artifact):
    with serving(artifacts=(), model_repository=str(repository), model_control="explicit") as live:
        assert live.get("/healthz/ready").status_code == 503
        with httpx.Client(base_url=live.url, trust_env=False, timeout=20) as operator:
            loaded = operator.post("/v1/repository/models/tiny/load")
            assert (loaded.status_code, loaded.json()["models"][0]["state"]) == (200, "ready")
            assert live.get("/healthz/ready").status_code == 200
            with Crowd(live.url, pair.files()) as crowd:
                crowd.wait_for("tiny@1")
                serial = live.server.segmenter.models.find("tiny").serial
                make_artifact(repository / "tiny" / "1", depth_optional=True)
                assert operator.post("/v1/repository/models/tiny/load").status_code == 200
                assert live.server.segmenter.models.find("tiny").serial != serial
                before = crowd.answers.total()
                while crowd.answers.total() < before + 2 * NUM_CLIENTS:
                    time.sleep(0.01)
            assert set(crowd.answers) == {"tiny@1"}
            assert operator.post("/v1/repository/models/tiny/unload").status_code == 200
            gone = operator.post("/v1/segment", files=pair.files(), params={"model": "tiny"})
            assert (gone.status_code, gone.json()["code"]) == (404, "model_not_found")
            assert operator.get("/v1/models").json() == {"models": []}
            assert operator.get("/v1/models/tiny").json()["state"] == "unavailable"
            listed = operator.get("/v1/repository/index").json()["models"]
            assert [(one["name"], one["version"], one["state"]) for one in listed] == [("tiny", "1", "unavailable")]


def test_models_are_changed_by_request_only_where_the_operator_says_so(serving):
    with serving() as live, httpx.Client(base_url=live.url, trust_env=False) as client:
        for action in ("load", "unload"):
            refused = client.post(f"/v1/repository/models/tiny/{action}")
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert "--model-control" in refused.json()["detail"]
        assert client.get("/v1/repository/index").json()["models"][0]["state"] == "ready"


def test_a_load_by_request_that_fails_is_a_conflict_with_the_reason(repository, serving, publish):
    with serving(artifacts=(), model_repository=str(repository), model_control="explicit") as live:
        (repository / "tiny" / "1" / "model.onnx").unlink()
        with httpx.Client(base_url=live.url, trust_env=False) as client:
            refused = client.post("/v1/repository/models/tiny/load")
            missing = client.post("/v1/repository/models/huge/load")
        assert (refused.status_code, refused.json()["code"]) == (409, "model_load_failed")
        assert "model.onnx is missing" in refused.json()["detail"]
        assert (missing.status_code, missing.json()["code"]) == (404, "model_not_found")


def test_an_artifact_deleted_while_it_is_served_goes_on_being_served(tmp_path, make_artifact, serving, pair):
    directory = make_artifact(tmp_path / "deleted")
    with serving(artifacts=(directory,)) as live:
        shutil.rmtree(directory)
        assert live.post(pair.files()).status_code == 200
        assert live.get("/healthz/ready").status_code == 200


def test_the_model_list_tells_what_an_operator_asks(serving):
    with serving() as live:
        (listed,) = live.get("/v1/models").json()["models"]
        one = live.get("/v1/models/tiny@1").json()
        text = live.get("/metrics").text
    assert (listed["state"], listed["current"], listed["default"], listed["backend"]) == (
        "ready", True, True, "onnxruntime-cpu",
    )  # fmt: skip
    assert listed["memory_bytes"] > 0
    assert (one["self_test"]["kind"], one["self_test"]["agreement"], one["self_test"]["passed"]) == ("self", 1, True)
    assert one["versions"] == [{"version": "1", "state": "ready", "reason": ""}]
    for metric in ("model_ready", "model_memory_bytes", "self_test_agreement"):
        assert f'geminifusion_{metric}{{name="tiny",version="1"}}' in text


def test_where_keys_are_asked_for_only_an_admins_changes_models(tmp_path, repository, serving):
    keys = {"client-key": "segment", "operator-key": "admin"}
    keys_file = tmp_path / "keys.toml"
    keys_file.write_text(
        "\n".join(
            f'[{role}]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\nroles = ["{role}"]'
            for key, role in keys.items()
        )
    )
    values = {"artifacts": (), "model_repository": str(repository), "api_keys_file": str(keys_file)}
    with serving(**values) as live, httpx.Client(base_url=live.url, trust_env=False) as client:
        for face in ("/v1", "/v2"):
            path = f"{face}/repository/models/tiny/unload"
            statuses = [client.post(path, headers={"X-Api-Key": key}).status_code for key in ("", *keys)]
            assert statuses == [401, 403, 200]
            assert client.post(path.replace("un", ""), headers={"X-Api-Key": "operator-key"}).status_code == 200
