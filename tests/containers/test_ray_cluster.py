"""The profile ray: head, two workers and the ingress; a worker that is killed under load."""

import httpx
import pytest
from container_engine import PAIR, wait_until

from geminifusion import Client
from geminifusion.errors import ServerBusyError, ServerError

pytestmark = pytest.mark.container
RGB, DEPTH = PAIR / "livingroom.rgb.jpg", PAIR / "livingroom.depth_mm.png"
URL = "http://127.0.0.1:8000"
BACK_WITHIN_S = 60  # a replica starts on the worker that is left


@pytest.fixture(scope="module")
def stack(engine, secrets):
    values = {
        "RAY_TOKEN_FILE": str(secrets / "ray-token"),
        "REPLICAS": "2",
        "REPLICA_THREADS": "1",
        "WORKER_CPUS": "2",
    }
    services = ("ray-head", "ray-worker", "ray-ingress")
    scale = ("--scale", "ray-worker=2")

    def ready():
        try:
            return httpx.get(f"{URL}/healthz/ready", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    try:
        engine.compose("up", "--detach", "--no-build", *scale, *services, profile="ray", **values)
        with engine.network():
            try:
                wait_until(ready, 360, "ready ingress")
            except AssertionError as error:
                error.add_note(engine.podman("logs", "--tail=60", "gftest_ray-ingress_1", check=False))
                raise
            yield engine
    finally:
        engine.compose("down", "--volumes", profile="ray", **values)


def test_a_worker_that_is_killed_costs_only_errors_to_retry(stack, load):
    with Client(URL, retries=0, timeout=60) as client:
        assert client.segment(RGB, DEPTH).labels.shape == (480, 640)

        def segment():
            try:
                return client.segment(RGB, DEPTH).labels.shape
            except (ServerBusyError, ServerError) as error:
                return error.code

        with load(segment, segment) as running:
            wait_until(lambda: len(running.all) > 4, 60, "responses")
            stack.podman("kill", "--signal=KILL", "gftest_ray-worker_2")
            count = running.all.count((480, 640))
            wait_until(lambda: running.all.count((480, 640)) > count + 10, BACK_WITHIN_S, "responses after the kill")
    assert set(running.all) <= {(480, 640), "engine_lost", "not_ready", "queue_full"}
