"""The probe of containers asks the server that the settings describe, whatever else the environment says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from geminifusion_service.healthcheck import healthcheck

NOWHERE = "http://127.0.0.1:9"
PROXIES = {"http_proxy": NOWHERE, "HTTP_PROXY": NOWHERE, "https_proxy": NOWHERE, "ALL_PROXY": NOWHERE}


def probe(live, *arguments, **environment):
    variables = PROXIES | {"GEMINIFUSION_HTTP_PORT": str(live.server.http_port)} | environment
    return CliRunner().invoke(healthcheck, list(map(str, arguments)), env=variables)


def test_a_ready_server_is_healthy_behind_proxies_on_any_port(live_server):
    done = probe(live_server)
    assert done.exit_code == 0, done.output
    assert f":{live_server.server.http_port}/healthz/ready: ready" in done.output


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost"])
def test_the_address_to_listen_on_leads_to_this_machine(live_server, host):
    assert probe(live_server, GEMINIFUSION_HOST=host).exit_code == 0


def test_a_port_from_a_file_of_settings_is_asked(live_server, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text(f"http_port = {live_server.server.http_port}\nqueue_size = 3\n")
    done = CliRunner().invoke(healthcheck, ["--config", str(settings)], env=PROXIES)
    assert done.exit_code == 0, done.output


def test_a_server_that_drains_or_is_not_there_is_unhealthy(serving):
    with serving() as live:
        live.server.segmenter.mark_draining()
        done = probe(live)
        assert (done.exit_code, "not ready (503)" in done.output) == (1, True)
    done = probe(live)
    assert done.exit_code == 1
    assert "refused" in done.output


def test_a_port_that_nobody_knows_is_wrong_usage():
    done = CliRunner().invoke(healthcheck, ["--http-port", "0"])
    assert done.exit_code == 2
    assert "--http-port" in done.output


def test_with_tls_and_client_certificates(serving, tmp_path):
    trustme = pytest.importorskip("trustme", reason="makes the certificates; it is in the extra dev")
    authority, other = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("robot.example")
    certificate, key, ca, foreign = (str(tmp_path / f"{name}.pem") for name in ("certificate", "key", "ca", "foreign"))
    issued.private_key_pem.write_to_path(key)
    Path(certificate).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(ca)
    other.cert_pem.write_to_path(foreign)
    tls = {"tls_certificate": certificate, "tls_key": key}
    for client_ca, said in (("", "ready"), (ca, "ready"), (foreign, "alive")):
        with serving(**tls, tls_client_ca=client_ca) as live:
            options = {
                f"GEMINIFUSION_{name.upper()}": path for name, path in (tls | {"tls_client_ca": client_ca}).items()
            }
            done = probe(live, **options)
            assert done.exit_code == 0, done.output
            assert f": {said}" in done.output
