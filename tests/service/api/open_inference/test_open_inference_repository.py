"""The model repository over the protocol: what there is, load, unload."""

import grpc
import httpx
import pytest

from geminifusion_service.pb import open_inference_pb2 as pb
from geminifusion_service.pb.open_inference_pb2_grpc import GRPCInferenceServiceStub


@pytest.fixture(scope="module")
def explicit(make_artifact, serving, tmp_path_factory):
    """A server that loads what it is asked to, from a repository of one model in two versions."""
    root = tmp_path_factory.mktemp("repository")
    for version in ("1", "2"):
        make_artifact(root / "shelf" / version, name="shelf", version=version)
    with serving(model_repository=str(root), model_control="explicit") as live:
        yield live


def states(http, **asked):
    listed = http.post("/v2/repository/index", json=asked).json()
    return {(entry["name"], entry["version"]): entry["state"] for entry in listed}


def test_models_are_loaded_listed_and_unloaded_over_http(explicit):
    with httpx.Client(base_url=explicit.url, trust_env=False) as http:
        assert states(http) == {("shelf", "2"): "UNAVAILABLE", ("shelf", "1"): "UNAVAILABLE", ("tiny", "1"): "READY"}
        assert http.get("/v2/models/shelf/ready").status_code == 404
        assert http.post("/v2/repository/models/shelf/load").status_code == 200
        assert http.get("/v2/models/shelf_raw").json()["versions"] == ["2"]
        assert states(http, ready=True) == {("shelf", "2"): "READY", ("tiny", "1"): "READY"}
        unload = http.post("/v2/repository/models/shelf/unload", json={"parameters": {"unload_dependents": False}})
        assert unload.status_code == 200
        assert http.get("/v2/models/shelf/ready").status_code == 404


def test_models_are_loaded_listed_and_unloaded_over_grpc(explicit):
    with grpc.insecure_channel(explicit.grpc_target) as channel:
        stub = GRPCInferenceServiceStub(channel)
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="shelf@1"))
        ready = stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models
        assert {(entry.name, entry.version) for entry in ready} == {("shelf", "1"), ("tiny", "1")}
        assert stub.ModelReady(pb.ModelReadyRequest(name="shelf", version="1")).ready
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="shelf"))
        assert not stub.ModelReady(pb.ModelReadyRequest(name="shelf")).ready


@pytest.mark.parametrize(
    ("path", "document", "status", "code"),
    [
        ("/v2/repository/models/nothing/load", {}, 404, "model_not_found"),
        ("/v2/repository/models/nothing/unload", {}, 404, "model_not_found"),
        ("/v2/repository/models/shelf/load", {"parameters": {"config": "{}"}}, 400, "invalid_option"),
        ("/v2/repository/models/shelf/unload", {"parameters": {"force": True}}, 400, "invalid_option"),
        ("/v2/repository/index", {"ready": "yes"}, 400, "invalid_option"),
        ("/v2/repository/index", [], 400, "malformed_body"),
    ],
)
def test_what_cannot_be_done_is_refused(explicit, path, document, status, code):
    with httpx.Client(base_url=explicit.url, trust_env=False) as http:
        answer = http.post(path, json=document)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_server_that_follows_its_repository_changes_nothing_by_request(live_server):
    with httpx.Client(base_url=live_server.url, trust_env=False) as http:
        for change in ("load", "unload"):
            answer = http.post(f"/v2/repository/models/tiny/{change}")
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert http.get("/v2/models/tiny/ready").status_code == 200
