"""Limits of connections and request headers, against a live server."""

import contextlib
import socket
import time

import httpx
import pytest


@pytest.fixture(scope="module")
def strict(serving):
    with serving(head_timeout_s=0.3, max_head_bytes=2048, max_connections=8) as live:
        yield live


def connect(live):
    return socket.create_connection(("127.0.0.1", live.server.http_port), timeout=5)


def everything_from(connection):
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


@pytest.mark.parametrize("sent", [b"", b"POST /v1/segment HTTP/1.1\r\nHost: x\r\n"])
def test_headers_that_do_not_arrive_end_the_connection(strict, sent):
    with connect(strict) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        assert everything_from(connection).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 3


def test_slow_headers_of_a_later_request_end_the_connection_too(strict):
    with connect(strict) as connection:
        connection.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /healthz")
        assert b"HTTP/1.1 408" in everything_from(connection)


@pytest.mark.parametrize("ended", [True, False])
def test_long_headers_are_rejected_whether_they_end_or_not(strict, ended):
    with connect(strict) as connection:
        connection.sendall(b"GET /healthz/live HTTP/1.1\r\nX-Long: " + b"x" * 4000 + (b"\r\n\r\n" if ended else b""))
        assert everything_from(connection).startswith(b"HTTP/1.1 431")


def test_one_connection_too_many_is_rejected_until_another_is_closed(strict):
    with contextlib.ExitStack() as crowd:
        for _ in range(8):
            crowd.enter_context(connect(strict))
        time.sleep(0.05)
        with connect(strict) as late:
            assert everything_from(late).startswith(b"HTTP/1.1 503")
    time.sleep(0.05)
    assert strict.get("/healthz/ready").status_code == 200


def test_web_pages_of_other_origins_may_read_responses_only_if_they_are_named(live_server, serving):
    headers = {"Origin": "https://app.example"}
    with httpx.Client(trust_env=False) as client:
        assert "access-control-allow-origin" not in client.get(f"{live_server.url}/v1/models", headers=headers).headers
        with serving(cors_origins="https://app.example, https://b.example/") as live:
            allowed = client.get(f"{live.url}/v1/models", headers=headers).headers
            assert allowed["access-control-allow-origin"] == "https://app.example"
            foreign = client.get(f"{live.url}/v1/models", headers={"Origin": "https://evil.example"}).headers
            assert "access-control-allow-origin" not in foreign


def test_responses_carry_no_server_banner(live_server):
    assert "server" not in live_server.get("/v1/models").headers


def test_pages_for_people_may_not_be_framed(live_server):
    headers = live_server.get("/docs").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
