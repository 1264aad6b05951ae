"""The profile ray: head, two workers and the ingress; a worker that is killed under load."""

import pytest
from container_engine import PAIR, answers, wait_until

from geminifusion import Client
from geminifusion.errors import ServerBusyError, ServerError

pytestmark = pytest.mark.container
RGB, DEPTH = PAIR / "livingroom.rgb.jpg", PAIR / "livingroom.depth_mm.png"
URL, GRPC = "http://127.0.0.1:8000", "grpc://127.0.0.1:8001"
NODES = ("ray-head_1", "ray-worker_1", "ray-worker_2", "ray-ingress_1")
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

    try:
        engine.compose("up", "--detach", "--no-build", *scale, *services, profile="ray", **values)
        with engine.network():
            try:
                wait_until(lambda: answers(f"{URL}/healthz/ready", timeout=5), 360, "ready ingress")
            except AssertionError as error:
                error.add_note(engine.podman("logs", "--tail=60", "gftest_ray-ingress_1", check=False))
                raise
            yield engine
    finally:
        engine.compose("down", "--volumes", profile="ray", **values)


@pytest.mark.parametrize("node", NODES)
def test_no_node_has_privileges_or_a_root_that_can_be_written(stack, confined, node):
    confined(f"gftest_{node}")


@pytest.mark.parametrize("node", ["ray-head_1", "ray-ingress_1"])
def test_the_health_checks_of_head_and_ingress_pass(stack, node):
    stack.podman("healthcheck", "run", f"gftest_{node}")


@pytest.mark.parametrize("url", [URL, GRPC])
def test_a_real_pair_passes_through_the_ingress(stack, url):
    with Client(url, timeout=60) as client:
        assert client.segment(RGB, DEPTH).labels.shape == (480, 640)


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
