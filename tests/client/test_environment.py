"""Proxies and certificates of the environment: those that cannot be used are named, this machine is asked directly."""

import pytest

from geminifusion import AsyncClient, Client
from geminifusion.errors import InvalidInputError, ServerUnreachableError
from geminifusion.proxies import may_use_proxy

VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
ELSEWHERE = "http://192.0.2.1:8000"  # reserved for documentation: nobody answers


@pytest.fixture
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return lambda **variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]


UNUSABLE = {
    "a proxy of SOCKS": ("ALL_PROXY", "socks5://user:secret@127.0.0.1:9", r"ALL_PROXY=socks5://127\.0\.0\.1:9 .*httpx"),
    "a proxy of an unknown kind": ("all_proxy", "socks://127.0.0.1:9", "all_proxy=socks://127"),
    "a proxy that is no address": ("HTTP_PROXY", "127.0.0.1:9:9", "HTTP_PROXY=127"),
    "a network in NO_PROXY": ("NO_PROXY", "fe80::/10", "NO_PROXY=fe80::/10"),
    "certificates that are missing": ("SSL_CERT_FILE", "/nonexistent", "SSL_CERT_FILE=/nonexistent"),
}


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_cannot_be_used_is_named(environment, case, kind):
    name, value, said = UNUSABLE[case]
    environment(**{name: value})
    with pytest.raises(InvalidInputError, match=said) as caught:
        kind(ELSEWHERE)
    assert "secret" not in str(caught.value)


def test_a_wrong_address_is_not_blamed_on_the_environment(environment):
    environment(NO_PROXY="fe80::/10")
    with pytest.raises(InvalidInputError, match="'http://host:port' is no usable address"):
        Client("http://host:port")


@pytest.mark.parametrize("stream", [False, True])
def test_a_proxy_that_does_not_respond_is_named(environment, stream):
    environment(http_proxy="http://user:secret@127.0.0.1:9")
    with Client(ELSEWHERE, retries=0) as client, pytest.raises(ServerUnreachableError) as caught:
        _ = list(client.stream([])) if stream else client.models()
    assert "through the proxy http://127.0.0.1:9 of the environment" in str(caught.value)
    assert "NO_PROXY" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_this_machine_is_asked_directly(environment, live_server):
    environment(ALL_PROXY="socks://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
    for url in (live_server.http_url, live_server.http_url.replace("127.0.0.1", "localhost"), live_server.grpc_url):
        with Client(url) as client:
            assert client.models()


def test_which_hosts_are_this_machine():
    for host in ("localhost", "127.0.0.1", "127.0.0.2", "[::1]", "robot.localhost", "LOCALHOST"):
        assert not may_use_proxy(f"http://{host}:8000")
    for host in ("robot.local", "10.0.0.3", "[fe80::1]", "localhost.example"):
        assert may_use_proxy(f"http://{host}:8000")


def test_the_port_of_the_other_transport_is_recognized(environment, live_server):
    http, grpc = live_server.http_url.rpartition(":")[2], live_server.grpc_url.rpartition(":")[2]
    for url, said in (
        (f"http://127.0.0.1:{grpc}", f"give grpc://127.0.0.1:{grpc}"),
        (f"grpc://127.0.0.1:{http}", f"give http://127.0.0.1:{http}"),
        (f"https://127.0.0.1:{http}", f"no TLS; give http://127.0.0.1:{http}"),
        (f"grpcs://127.0.0.1:{grpc}", f"no TLS; give grpc://127.0.0.1:{grpc}"),
    ):
        with Client(url, retries=0, timeout=5) as client, pytest.raises(ServerUnreachableError, match=said):
            client.models()
    with (
        Client(f"http://127.0.0.1:{grpc}", retries=0) as client,
        pytest.raises(ServerUnreachableError, match="grpc://"),
    ):
        list(client.stream([]))
