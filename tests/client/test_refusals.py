"""What the service refuses arrives as one error with the same code, whichever way the request went."""

import numpy as np
import pytest

from geminifusion import Client, load
from geminifusion.errors import (
    DeadlineExceededError,
    InvalidInputError,
    InvalidResponseError,
    RequestRejectedError,
    ServerUnreachableError,
)
from geminifusion.server_process import open_port
from geminifusion_runtime.errors import GeminiFusionError


@pytest.fixture(params=["http", "grpc"])
def client(request, live_server):
    with Client(getattr(live_server, f"{request.param}_url")) as client:
        yield client


CASES = {
    "size_mismatch": (422, lambda pair: (pair.rgb, pair.depth_mm[:-1], {})),
    "undecodable_image": (400, lambda pair: (pair.rgb_path.read_bytes()[:500], pair.depth_mm, {})),
    "depth_scale_required": (422, lambda pair: (pair.rgb, grey_png(pair), {})),
    "model_not_found": (404, lambda pair: (pair.rgb, pair.depth_mm, {"model": "nobody"})),
}


def grey_png(pair):
    from geminifusion_runtime.png_encoder import encode_png

    return encode_png((pair.depth_mm // 256).astype(np.uint8))


@pytest.mark.parametrize("code", CASES)
def test_refusal_carries_code_status_and_request_id(client, pair, code):
    status, make = CASES[code]
    rgb, depth, options = make(pair)
    with pytest.raises(RequestRejectedError) as caught:
        client.segment(rgb, depth, request_id="asked-1", **options)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.request_id == "asked-1"
    assert client.segment(pair.rgb, pair.depth_mm).labels.shape == (50, 70)


@pytest.mark.parametrize("code", [code for code in CASES if code != "model_not_found"])
def test_the_same_refusal_without_a_server(tiny_artifact, pair, code):
    rgb, depth, _ = CASES[code][1](pair)
    with pytest.raises(GeminiFusionError) as caught:
        load(tiny_artifact, threads=1)(rgb, depth)
    assert caught.value.code == code


def test_a_deadline_nobody_can_meet_is_missed(client, pair):
    with pytest.raises(DeadlineExceededError) as caught:
        client.segment(pair.rgb, pair.depth_mm, deadline_ms=0.001)
    assert (caught.value.code, caught.value.status) == ("deadline_exceeded", 504)


@pytest.mark.parametrize(
    ("rgb", "depth", "message"),
    [
        ("/nowhere.png", np.ones((4, 4)), "cannot be read"),
        (np.zeros((4, 4)), np.ones((4, 4)), "give HxWx3 uint8"),
        (np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 1)), "give HxW"),
    ],
)
def test_arguments_that_are_no_pictures_are_named(tiny_artifact, rgb, depth, message):
    with pytest.raises(InvalidInputError, match=message):
        load(tiny_artifact, threads=1)(rgb, depth)


def test_nobody_listening_is_said_with_the_address():
    url = f"grpc://127.0.0.1:{open_port(0, '127.0.0.1')}"
    with Client(url) as client:
        assert not client.ready()
        with pytest.raises(ServerUnreachableError, match=f"nothing responds at {url}"):
            client.models()


def test_the_http_port_is_not_mistaken_for_the_grpc_port(live_server):
    wrong = live_server.http_url.replace("http://", "grpc://")
    with Client(wrong) as client, pytest.raises((InvalidResponseError, ServerUnreachableError)):
        client.models()
