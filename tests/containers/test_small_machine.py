"""The default profile with docker/compose.small.yml, in 512 MB that the kernel enforces."""

import json
import sys

import cv2
import httpx
import numpy as np
import pytest
from container_engine import PAIR, answers, wait_until
from memory_group import MemoryGroup
from tests.requirements import skip_or_fail

from geminifusion import Client

pytestmark = pytest.mark.container
RGB, DEPTH = PAIR / "livingroom.rgb.jpg", PAIR / "livingroom.depth_mm.png"
HTTP, GRPC = "http://127.0.0.1:8000", "grpc://127.0.0.1:8001"
SERVER = "gftest_geminifusion_1"
MOST = 512 * 2**20
FILES = ("docker-compose.yml", "docker/compose.small.yml")


@pytest.fixture(scope="module")
def group(engine):
    try:
        group = MemoryGroup("gftest-small", MOST)
    except OSError as error:
        skip_or_fail(f"nothing here can enforce a limit of memory: {error}")
    too_much = (sys.executable, "-c", f"bytearray(b'1' * {MOST + 2**20})")
    engine.run(*group.join, *too_much, check=False)
    if not group.kills:
        group.remove()
        skip_or_fail("nothing here enforces a limit of memory: a process that took more was not killed")
    yield group
    group.remove()


@pytest.fixture(scope="module")
def stack(engine, group):

    try:
        engine.compose("up", "--detach", "--no-build", "geminifusion", files=FILES, within=group.join)
        with engine.network():
            wait_until(lambda: answers(f"{HTTP}/healthz/ready"), 120, "ready server")
            yield engine
    finally:
        engine.compose("down", "--volumes", files=FILES)


def post(rgb, depth):
    files = {"rgb": rgb, "depth": depth}
    return httpx.post(f"{HTTP}/v1/segment?format=png", files=files, timeout=60, trust_env=False)


def noise(height, width):
    """A pair of the size whose files compress badly: about 3 bytes for each of its pixels."""
    values = np.random.default_rng(0)
    rgb = cv2.imencode(".jpg", values.integers(0, 255, (height, width, 3), np.uint8))[1]
    depth = cv2.imencode(".png", values.integers(500, 5000, (height, width)).astype(np.uint16))[1]
    return rgb.tobytes(), depth.tobytes()


@pytest.mark.parametrize("url", [HTTP, GRPC])
def test_it_segments_a_real_pair_and_one_of_full_hd(stack, confined, url):
    confined(SERVER)
    with Client(url, timeout=60) as client:
        assert client.segment(RGB, DEPTH).labels.shape == (480, 640)
        assert client.segment(*noise(1080, 1920)).labels.shape == (1080, 1920)


def test_it_says_what_does_not_fit(stack):
    black = cv2.imencode(".jpg", np.zeros((3000, 4000, 3), np.uint8))[1].tobytes()
    flat = cv2.imencode(".png", np.full((3000, 4000), 2000, np.uint16))[1].tobytes()
    said = post(black, flat)
    assert (said.status_code, said.json()["code"]) == (413, "image_too_large")
    assert "12.0 megapixels; this server takes 2.1" in said.json()["detail"]
    said = post(bytes(9 * 2**20), DEPTH.read_bytes())
    assert (said.status_code, said.json()["code"]) == (413, "body_too_large")
    assert "8388608" in said.json()["detail"].replace(",", "")


def test_under_more_than_it_can_take_it_says_so_and_is_not_killed(stack, group, load):
    large, small = noise(1080, 1920), (RGB.read_bytes(), DEPTH.read_bytes())
    numbers = ",".join(str(number % 256) for number in range(150 * 250 * 3))
    tensor = f'{{"name":"rgb","datatype":"UINT8","shape":[1,150,250,3],"data":[{numbers}]}}'
    document = f'{{"inputs":[{tensor}]}}'.encode()
    name = httpx.get(f"{HTTP}/v1/models", trust_env=False).json()["models"][0]["name"]

    def tensors():
        url = f"{HTTP}/v2/models/{name}/infer"
        return httpx.post(url, content=document, timeout=60, trust_env=False).status_code

    before, held = group.kills, []

    def enough():
        held.append(group.held)
        return running.all.count(200) > 12 and running.all.count(429) > 12

    calls = [lambda: post(*large).status_code] * 6 + [lambda: post(*small).status_code] * 2 + [tensors] * 3
    with load(*calls) as running:
        wait_until(enough, 120, "responses of both kinds")
    assert set(running.all) <= {200, 429}
    with Client(HTTP) as client:
        assert client.segment(RGB, DEPTH).labels.shape == (480, 640)
    (state,) = json.loads(stack.podman("inspect", SERVER))
    assert state["State"]["Running"]
    assert state["RestartCount"] == 0
    assert group.kills == before
    assert max(held) > MOST / 4  # else the server is not in the group
