"""A model that was trained to do without depth, asked without depth, over every way in."""

import numpy as np
import pytest

from geminifusion import Client, load
from geminifusion.errors import ServerError
from geminifusion.server_process import running_server
from geminifusion_runtime.errors import MissingPartError


@pytest.fixture(scope="module")
def artifact(make_artifact, tmp_path_factory):
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "sparse", name="sparse", depth_optional=True)


@pytest.fixture(scope="module")
def addresses(artifact, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    with running_server(["--artifact", artifact], log) as server:
        yield {"http": server.http_url, "grpc": server.grpc_url}


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_answer_without_depth_says_so_and_is_the_same_everywhere(transport, addresses, artifact, pair):
    here = load(artifact, threads=1)(pair.rgb_path)
    with Client(addresses[transport]) as client:
        there = client.segment(pair.rgb_path)
        whole = client.segment(pair.rgb_path, pair.depth_path)
    np.testing.assert_array_equal(there.labels, here.labels)
    assert there.warnings == here.warnings
    assert "no depth was sent" in there.warnings[0]
    assert all(share.median_depth_m is None for share in there.classes)
    assert not whole.warnings
    assert (whole.labels != there.labels).any()


def test_no_depth_is_taken_as_nothing_measured(artifact, pair):
    segment = load(artifact, threads=1)
    blind = segment(pair.rgb, np.zeros(pair.rgb.shape[:2], np.float32))
    np.testing.assert_array_equal(segment(pair.rgb).labels, blind.labels)


def test_a_model_that_needs_depth_still_asks_for_it(live_server, tiny_artifact, pair):
    with Client(live_server.http_url) as client, pytest.raises(ServerError, match="depth is missing") as refused:
        client.segment(pair.rgb_path)
    assert refused.value.code == "missing_part"
    with pytest.raises(MissingPartError, match="depth is missing"):
        load(tiny_artifact, threads=1)(pair.rgb_path)
