"""The default profile with docker/compose.api-keys.yml: keys in a file that is a secret."""

import hashlib

import httpx
import pytest
from container_engine import PAIR, answers, wait_until

from geminifusion import Client
from geminifusion.errors import RequestRejectedError

pytestmark = pytest.mark.container
RGB, DEPTH = PAIR / "livingroom.rgb.jpg", PAIR / "livingroom.depth_mm.png"
HTTP, GRPC = "http://127.0.0.1:8000", "grpc://127.0.0.1:8001"
SERVER = "gftest_geminifusion_1"
FILES = ("docker-compose.yml", "docker/compose.api-keys.yml")
KEY = "of-camera-7"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


@pytest.fixture(scope="module")
def stack(engine, secrets):
    file = secrets / "api-keys.toml"
    file.write_text(f'[camera-7]\nsha256 = "{DIGEST}"\n')
    file.chmod(0o644)
    values = {"API_KEYS_FILE": str(file)}

    try:
        engine.compose("up", "--detach", "--no-build", "geminifusion", files=FILES, **values)
        with engine.network():
            wait_until(lambda: answers(f"{HTTP}/healthz/ready"), 90, "ready server")
            yield engine
    finally:
        engine.compose("down", "--volumes", files=FILES, **values)


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"X-Api-Key": "guess"}, 401), ({"X-Api-Key": KEY}, 200)])
def test_over_http_the_key_decides(stack, headers, status):
    files = {"rgb": RGB.read_bytes(), "depth": DEPTH.read_bytes()}
    said = httpx.post(f"{HTTP}/v1/segment?format=png", files=files, headers=headers, timeout=60, trust_env=False)
    assert said.status_code == status


def test_over_grpc_the_key_decides(stack):
    with Client(GRPC) as client, pytest.raises(RequestRejectedError) as rejected:
        client.segment(RGB, DEPTH)
    assert rejected.value.code == "unauthenticated"
    with Client(GRPC, api_key=KEY) as client:
        assert client.segment(RGB, DEPTH).labels.shape == (480, 640)


def test_the_secret_is_a_file_that_cannot_be_written_and_no_part_of_the_configuration(stack, confined):
    assert DIGEST in stack.podman("exec", SERVER, "cat", "/run/secrets/api-keys.toml")
    said = stack.podman("exec", SERVER, "sh", "-c", "echo >> /run/secrets/api-keys.toml", check=False)
    assert "/run/secrets/api-keys.toml" in said
    assert DIGEST not in stack.podman("inspect", SERVER)
    confined(SERVER)
