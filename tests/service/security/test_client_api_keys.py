"""Our own client with keys, certificates and every option, over both transports."""

import hashlib

import numpy as np
import pytest

from geminifusion import Client
from geminifusion.errors import ServerError

trustme = pytest.importorskip("trustme", reason="makes the certificates; it is in the extra dev")


@pytest.fixture(scope="module")
def guarded(serving, tmp_path_factory):
    """A server that asks for a key and a client certificate, and how to meet it."""
    folder = tmp_path_factory.mktemp("access")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        (folder / f"{name}.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (folder / "keys.toml").write_text(f'[camera]\nsha256 = "{hashlib.sha256(b"k").hexdigest()}"\n')
    with serving(
        api_keys_file=str(folder / "keys.toml"),
        tls_certificate=str(folder / "server.pem"),
        tls_key=str(folder / "server.key"),
        tls_client_ca=str(folder / "ca.pem"),
    ) as live:
        yield live, {"ca": folder / "ca.pem", "certificate": folder / "client.pem", "key": folder / "client.key"}


def address(live, scheme):
    port = live.server.grpc_port if scheme.startswith("grpc") else live.server.http_port
    return f"{scheme}://127.0.0.1:{port}"


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_key_and_a_certificate_open_the_door(guarded, pair, scheme):
    live, files = guarded
    with Client(address(live, scheme), api_key="k", **files) as client:
        result = client.segment(pair.rgb, pair.depth_mm)
        np.testing.assert_array_equal(result.labels, pair.labels)
        (frame,) = client.stream([(pair.rgb, pair.depth_mm)])
        np.testing.assert_array_equal(frame.result.labels, pair.labels)
    with Client(address(live, scheme), api_key="wrong", **files) as client:
        with pytest.raises(ServerError) as refused:
            client.segment(pair.rgb, pair.depth_mm)
        assert refused.value.code == "unauthenticated"
        with pytest.raises(ServerError) as refused:
            list(client.stream([(pair.rgb, pair.depth_mm)]))
        assert (refused.value.code, refused.value.status) == ("unauthenticated", 401)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_every_option_means_the_same_over_both_transports(live_server, pair, scheme):
    with Client(address(live_server, scheme)) as client:
        result = client.segment(
            pair.rgb, pair.depth_mm[::2, ::2].copy(), align="resize", disagreement=True, priority="high"
        )
        assert any("resized" in text for text in result.warnings)
        assert result.disagreement.shape == result.gate.shape
        assert result.sensors["depth"].holes == pytest.approx(1 / 64, abs=0.02)
        assert result.classes[0].nearest_depth_m <= result.classes[0].median_depth_m
        with pytest.raises(ServerError) as refused:
            client.segment(pair.rgb, np.zeros_like(pair.depth_mm), sensor_policy="reject")
        assert refused.value.code == "sensor_broken"
