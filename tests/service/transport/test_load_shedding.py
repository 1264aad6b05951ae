"""A refusal on the head alone is the refusal that the usual road gives."""

import contextlib
import hashlib
import logging
import socket

import httpx
import pytest

USUAL = {"deadline_ms": 60_000}  # what is decided further on
VARYING = {"date", "x-request-id", "content-length"}


@contextlib.contextmanager
def full(serving, **settings):
    """A server that can take no more: somebody holds its only place."""
    with serving(queue_size=1, **settings) as live:
        place = live.server.segmenter._admission
        place._num_working += 1
        yield live
        place._num_working -= 1


@pytest.fixture(scope="module")
def busy(serving):
    with full(serving) as live:
        yield live


def post(live, path, *, client=None, headers=None, files=None, **query):
    with contextlib.nullcontext(client) if client else httpx.Client(trust_env=False) as own:
        return own.post(live.url + path, params=query, headers=headers, files=files or {"rgb": b"x" * 300_000})


@pytest.mark.parametrize("path", ["/v1/segment", "/v2/models/tiny/infer", "/v2/models/tiny/versions/1/infer"])
def test_both_roads_refuse_with_the_same_words(busy, path):
    usual = post(busy, path, headers={"X-Forwarded-Proto": "http"})
    early = post(busy, path)
    assert usual.status_code == early.status_code == 429
    assert set(usual.headers) == set(early.headers)
    for name in set(early.headers) - VARYING:
        assert early.headers[name] == usual.headers[name], name
    ours, theirs = early.json(), usual.json()
    assert ours.pop("request_id") == early.headers["X-Request-Id"]
    assert theirs.pop("request_id") == usual.headers["X-Request-Id"]
    assert ours == theirs


def test_an_early_refusal_does_not_reach_the_application(busy, monkeypatch):
    seen = []
    app = busy.server._http.config.loaded_app

    async def watching(scope, receive, send):
        seen.append(scope["query_string"])
        await app(scope, receive, send)

    for connection in tuple(busy.server._http.server_state.connections):
        connection.transport.close()
    monkeypatch.setattr(busy.server._http.config, "loaded_app", watching)
    for query in ({"format": "json"}, USUAL, {"priority": "high", "align": "none"}, {"request_id": "r-1"}):
        post(busy, "/v1/segment", **query)
    assert seen == [b"deadline_ms=60000", b"priority=high&align=none", b"request_id=r-1"]


def test_the_connection_serves_on_after_a_refusal(serving, pair):
    with full(serving) as live, httpx.Client(trust_env=False, limits=httpx.Limits(max_connections=1)) as client:
        for _ in range(3):
            assert post(live, "/v1/segment", client=client).status_code == 429
        live.server.segmenter._admission._num_working -= 1
        assert post(live, "/v1/segment", client=client, files=pair.files()).status_code == 200
        live.server.segmenter._admission._num_working += 1
        assert post(live, "/v1/segment", client=client).status_code == 429
        assert client.get(f"{live.url}/healthz").status_code == 200
        assert len(live.server._http.server_state.connections) == 1


def test_pipelined_requests_are_answered_in_their_order(busy):
    head = b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    address = ("127.0.0.1", busy.server.http_port)
    with socket.create_connection(address, 10) as connection:
        connection.sendall(head + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + head)
        received = b""
        while received.count(b"HTTP/1.1 ") < 3 or not received.endswith(b"}"):
            received += connection.recv(65536)
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"429", b"200", b"429"]


def test_an_early_refusal_is_counted_and_logged_with_its_client(busy, caplog):
    counter = 'geminifusion_requests_total{code="queue_full",transport="http"}'

    def counted():
        lines = busy.get("/metrics").text.splitlines()
        return float(next((line.split()[1] for line in lines if line.startswith(counter)), 0))

    before = counted()
    with caplog.at_level(logging.INFO, "geminifusion.access"):
        answer = post(busy, "/v1/segment", headers={"X-Request-Id": "cam-9"})
    assert answer.headers["X-Request-Id"] == "cam-9"
    assert counted() == before + 1
    (record,) = [record for record in caplog.records if record.name == "geminifusion.access"]
    assert (record.code, record.request_id, record.client, record.status) == ("queue_full", "cam-9", "127.0.0.1", 429)


def test_who_asks_for_keys_is_refused_for_the_key_first(serving, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[camera]\nsha256 = "{hashlib.sha256(b"a key of the camera").hexdigest()}"\n')
    with full(serving, api_keys_file=str(keys)) as live:
        assert post(live, "/v1/segment").status_code == 401
