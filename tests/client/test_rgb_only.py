"""A model that sees the RGB alone, asked over every way in."""

import cv2
import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion import Client, load
from geminifusion.commands import demo, models, predict
from geminifusion.errors import RequestRejectedError
from geminifusion.server_process import open_port, running_server
from geminifusion_runtime.errors import UnknownPartError


@pytest.fixture(scope="module")
def artifact(make_artifact, tmp_path_factory):
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "rgb-only", name="rgb-only", with_depth=False)


@pytest.fixture(scope="module")
def addresses(artifact, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    with running_server(["--artifact", artifact], log) as server:
        yield {"http": server.http_url, "grpc": server.grpc_url}


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_the_picture_alone_is_answered_without_a_warning(transport, addresses, artifact, pair):
    here = load(artifact, threads=1)(pair.rgb_path)
    with Client(addresses[transport]) as client:
        there = client.segment(pair.rgb_path)
        (model,) = client.models()
    np.testing.assert_array_equal(there.labels, here.labels)
    assert there.labels.any()
    assert (there.warnings, here.warnings) == ((), ())
    assert not there.gate.any()
    assert all(share.median_depth_m is None for share in there.classes)
    assert [modality["name"] for modality in model["modalities"]] == ["rgb"]


def test_a_bare_post_of_the_picture_gives_a_mask(addresses, pair):
    with httpx.Client(trust_env=False) as http:
        answer = http.post(f"{addresses['http']}/v1/segment", files={"rgb": pair.rgb_path.read_bytes()})
    mask = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert answer.status_code == 200
    assert mask.shape == pair.rgb.shape[:2]


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_depth_is_refused_and_the_message_says_what_to_send(transport, addresses, artifact, pair):
    with Client(addresses[transport]) as client, pytest.raises(RequestRejectedError) as refused:
        client.segment(pair.rgb_path, pair.depth_path)
    assert (refused.value.code, refused.value.status) == ("unknown_part", 400)
    assert "rgb-only@1 has no input 'depth'; send rgb (" in str(refused.value)
    with pytest.raises(UnknownPartError, match="has no input 'depth'; send rgb"):
        load(artifact, threads=1)(pair.rgb_path, pair.depth_path)


def test_commands_take_the_picture_alone(artifact, addresses, pair, tmp_path):
    def invoke(command, *arguments):
        done = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    here = invoke(predict, pair.rgb_path, "--artifact", artifact, "--output", tmp_path / "here")
    there = invoke(predict, pair.rgb_path, "--url", addresses["http"], "--output", tmp_path / "there")
    assert here.splitlines()[:3] == there.splitlines()[:3]
    assert "rgb (uint8, intensity)" in invoke(models, "--artifact", artifact)
    ports = ("--http-port", open_port(0, "127.0.0.1"), "--grpc-port", open_port(0, "127.0.0.1"))
    shown = invoke(demo, "--artifact", artifact, "--output", tmp_path / "demo", "--once", *ports)
    assert "by rgb-only@1" in shown
