"""The default profile and the profile monitoring: what is in the container, and what comes out of it."""

import json

import httpx
import pytest
from container_engine import PAIR, answers, wait_until

from geminifusion import Client

pytestmark = pytest.mark.container
RGB, DEPTH = PAIR / "livingroom.rgb.jpg", PAIR / "livingroom.depth_mm.png"
HTTP, GRPC = "http://127.0.0.1:8000", "grpc://127.0.0.1:8001"
SERVER = "gftest_geminifusion_1"


@pytest.fixture(scope="module")
def stack(engine):
    services = ("geminifusion", "prometheus", "alertmanager")
    try:
        engine.compose("up", "--detach", "--no-build", *services, profile="monitoring")
        with engine.network():
            wait_until(lambda: answers(f"{HTTP}/healthz/ready"), 90, "ready server")
            yield engine
    finally:
        engine.compose("down", "--volumes", profile="monitoring")


def test_images_are_small_and_have_a_numeric_user(engine):
    for tag, most in (("geminifusion:cpu", 470e6), ("geminifusion:ray", 850e6)):
        (image,) = json.loads(engine.podman("image", "inspect", tag))
        assert image["User"] == "10001:10001"
        assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
        assert image["Size"] < most


def test_the_image_has_no_compiler_and_no_pip(engine):
    script = "for name in gcc cc make pip pip3; do command -v $name; done; python3 -m pip --version"
    said = engine.podman(
        "run", "--rm", "--network=none", "--read-only", "--entrypoint=sh", "geminifusion:cpu", "-c", script, check=False
    )
    assert "No module named pip" in said
    assert "/bin/" not in said.replace("/opt/geminifusion/bin/python3: No module named pip", "")


def test_it_has_no_privileges_and_a_root_that_cannot_be_written(stack, confined):
    confined(SERVER)


def test_its_health_check_passes(stack):
    stack.podman("healthcheck", "run", SERVER)


@pytest.mark.parametrize("url", [HTTP, GRPC])
def test_it_segments_a_real_pair(stack, url):
    with Client(url) as client:
        result = client.segment(RGB, DEPTH)
    assert result.labels.shape == (480, 640)
    assert len(set(result.labels.ravel())) > 3


def test_prometheus_scrapes_it_and_knows_the_alertmanager(stack):
    def get(path):
        return httpx.get(f"http://127.0.0.1:9090/api/v1/{path}", trust_env=False).json()["data"]

    wait_until(lambda: answers("http://127.0.0.1:9090/-/ready"), 30, "Prometheus")
    wait_until(lambda: any(target["health"] == "up" for target in get("targets")["activeTargets"]), 40, "target")
    rules = [rule for group in get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) >= 7
    wait_until(lambda: get("alertmanagers")["activeAlertmanagers"], 30, "Alertmanager")
    found = wait_until(lambda: get("query?query=geminifusion_requests_total")["result"], 30, "metric of a request")
    assert {row["metric"]["code"] for row in found} == {"ok"}


def test_a_stop_under_load_breaks_no_request(stack, load):
    timeout = httpx.Timeout(30, connect=2)

    def post():
        files = {"rgb": RGB.read_bytes(), "depth": DEPTH.read_bytes()}
        try:
            sent = httpx.post(f"{HTTP}/v1/segment?format=png", files=files, timeout=timeout, trust_env=False)
        except (httpx.ConnectError, httpx.ConnectTimeout):  # once it is gone, nothing answers at its address
            return "refused"
        except httpx.RemoteProtocolError:  # connected in the instant in which idle connections were closed
            return "closed before it was read"
        return sent.status_code

    with load(post, post) as running:
        wait_until(lambda: len(running.all) > 6, 60, "responses")
        stack.podman("stop", "--time=30", SERVER)
    (state,) = json.loads(stack.podman("inspect", SERVER))
    assert state["State"]["ExitCode"] == 0
    assert 200 in running.all
    # A client without a proxy can meet that instant once; 503 says to come back.
    for said in running.outcomes:
        assert said.count("closed before it was read") <= 1
    assert set(running.all) <= {200, 503, "refused", "closed before it was read"}
