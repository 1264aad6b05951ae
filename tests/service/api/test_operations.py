"""Paths for whoever runs the server; those of NVIDIA's NIM say the same as ours."""

import importlib.metadata

import pytest


@pytest.mark.parametrize("state", ["live", "ready"])
def test_health_has_the_fields_and_the_status_of_nim(live_server, state):
    response = live_server.get(f"/v1/health/{state}")
    assert response.status_code == live_server.get(f"/healthz/{state}").status_code == 200
    assert response.json() == {"object": "health.response", "message": f"The service is {state}.", "status": state}


def test_a_server_that_drains_is_live_and_not_ready(serving):
    with serving() as live:
        live.server.segmenter.mark_draining()
        assert live.get("/v1/health/live").status_code == 200
        not_ready = live.get("/v1/health/ready")
    assert not_ready.status_code == 503
    assert not_ready.json()["status"] != "ready"


def test_metrics_are_those_of_the_other_path(live_server):
    other = live_server.get("/v1/metrics")
    assert other.headers["content-type"] == live_server.get("/metrics").headers["content-type"]
    assert "geminifusion_ready 1.0" in other.text


def test_version_and_metadata_name_the_release_and_the_models(live_server):
    release = importlib.metadata.version("geminifusion")
    assert live_server.get("/v1/version").json() == {"release": release, "api": "1"}
    metadata = live_server.get("/v1/metadata").json()
    models = [f"{model['name']}@{model['version']}" for model in live_server.get("/v1/models").json()["models"]]
    assert metadata["version"] == release
    assert [model["shortName"] for model in metadata["modelInfo"]] == models
