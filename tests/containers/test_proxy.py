"""The profile proxy: TLS before two replicas, of which one at a time can be restarted without a request lost."""

import ssl
import sys
from pathlib import Path

import pytest
from container_engine import PAIR, ROOT, answers, wait_until

from geminifusion import Client

pytestmark = pytest.mark.container
RGB, DEPTH = PAIR / "livingroom.rgb.jpg", PAIR / "livingroom.depth_mm.png"
ADDRESS = "localhost:8443"


@pytest.fixture(scope="module")
def stack(engine, secrets):
    pem = {"PROXY_PEM_FILE": str(secrets / "proxy.pem")}
    services = ("geminifusion", "geminifusion-2", "proxy")
    context = ssl.create_default_context(cafile=secrets / "ca.pem")

    try:
        engine.compose("up", "--detach", "--no-build", *services, profile="proxy", **pem)
        with engine.network():
            wait_until(
                lambda: answers(f"https://{ADDRESS}/healthz/ready", timeout=5, verify=context),
                120,
                "replica behind the proxy",
            )
            yield engine
    finally:
        engine.compose("down", "--volumes", profile="proxy", **pem)


@pytest.mark.parametrize("replica", ["geminifusion_1", "geminifusion-2_1"])
def test_no_replica_has_privileges_or_a_root_that_can_be_written(stack, confined, replica):
    confined(f"gftest_{replica}")


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_real_pair_passes_through_tls(stack, secrets, scheme):
    with Client(f"{scheme}://{ADDRESS}", ca=secrets / "ca.pem") as client:
        assert client.segment(RGB, DEPTH).labels.shape == (480, 640)


def test_a_rolling_restart_under_load_fails_no_request(stack, secrets, load):
    compose = f"{Path(sys.executable).with_name('podman-compose')} --podman-args=--log-level=error"
    pem = str(secrets / "proxy.pem")
    clients = [Client(f"{scheme}://{ADDRESS}", ca=secrets / "ca.pem", retries=0) for scheme in ("https", "grpcs")]

    def segmenting(client):
        return lambda: client.segment(RGB, DEPTH).labels.shape

    with load(*map(segmenting, clients)) as running:
        wait_until(lambda: all(len(said) > 3 for said in running.outcomes), 60, "responses")
        stack.run(
            "sh",
            str(ROOT / "docker/proxy/rolling_restart.sh"),
            COMPOSE=f"{compose} --project-name=gftest --profile proxy",
            PROXY_PEM_FILE=pem,
        )
        before = [len(said) for said in running.outcomes]
        wait_until(
            lambda: all(len(said) > was + 3 for said, was in zip(running.outcomes, before, strict=True)), 60, "more"
        )
    for client in clients:
        client.close()
    for said in running.outcomes:
        assert set(said) == {(480, 640)}
