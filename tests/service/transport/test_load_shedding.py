"""Load shedding rejects on the headers alone, with the response that the application would give."""

import contextlib
import hashlib
import logging
import socket

import httpx
import pytest

LEFT_TO_THE_APPLICATION = {"deadline_ms": 60_000}
VARYING = {"date", "x-request-id", "content-length"}


@contextlib.contextmanager
def full(serving, **settings):
    """A server whose queue is full."""
    with serving(queue_size=1, **settings) as live:
        admission = live.server.segmenter._admission
        admission._num_in_flight += 1
        yield live
        admission._num_in_flight -= 1


@pytest.fixture(scope="module")
def busy(serving):
    with full(serving) as live:
        yield live


def post(live, path, *, client=None, headers=None, files=None, **query):
    with contextlib.nullcontext(client) if client else httpx.Client(trust_env=False) as own:
        return own.post(live.url + path, params=query, headers=headers, files=files or {"rgb": b"x" * 300_000})


@pytest.mark.parametrize("path", ["/v1/segment", "/v2/models/tiny/infer", "/v2/models/tiny/versions/1/infer"])
def test_shedding_responds_as_the_application_does(busy, path):
    by_application = post(busy, path, headers={"X-Forwarded-Proto": "http"})
    shed = post(busy, path)
    assert by_application.status_code == shed.status_code == 429
    assert set(by_application.headers) == set(shed.headers)
    for name in set(shed.headers) - VARYING:
        assert shed.headers[name] == by_application.headers[name], name
    documents = []
    for response in (shed, by_application):
        document = response.json()
        assert document.pop("request_id") == response.headers["X-Request-Id"]
        documents.append(document)
    assert documents[0] == documents[1]


def test_a_shed_request_does_not_reach_the_application(busy, monkeypatch):
    seen = []
    app = busy.server._http.config.loaded_app

    async def watching(scope, receive, send):
        seen.append(scope["query_string"])
        await app(scope, receive, send)

    for connection in tuple(busy.server._http.server_state.connections):
        connection.transport.close()
    monkeypatch.setattr(busy.server._http.config, "loaded_app", watching)
    for query in (
        {"format": "json"},
        LEFT_TO_THE_APPLICATION,
        {"priority": "high", "align": "none"},
        {"request_id": "r-1"},
    ):
        post(busy, "/v1/segment", **query)
    assert seen == [b"deadline_ms=60000", b"priority=high&align=none", b"request_id=r-1"]


def test_the_connection_is_kept_after_a_rejection(serving, pair):
    with full(serving) as live, httpx.Client(trust_env=False, limits=httpx.Limits(max_connections=1)) as client:
        for _ in range(3):
            assert post(live, "/v1/segment", client=client).status_code == 429
        live.server.segmenter._admission._num_in_flight -= 1
        assert post(live, "/v1/segment", client=client, files=pair.files()).status_code == 200
        live.server.segmenter._admission._num_in_flight += 1
        assert post(live, "/v1/segment", client=client).status_code == 429
        assert client.get(f"{live.url}/healthz").status_code == 200
        assert len(live.server._http.server_state.connections) == 1


def test_pipelined_requests_are_responded_to_in_order(busy):
    head = b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    address = ("127.0.0.1", busy.server.http_port)
    with socket.create_connection(address, 10) as connection:
        connection.sendall(head + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + head)
        received = b""
        while received.count(b"HTTP/1.1 ") < 3 or not received.endswith(b"}"):
            received += connection.recv(65536)
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"429", b"200", b"429"]


def requests_total(live, transport):
    counter = f'geminifusion_requests_total{{code="queue_full",transport="{transport}"}}'
    lines = live.get("/metrics").text.splitlines()
    return float(next((line.split()[1] for line in lines if line.startswith(counter)), 0))


@pytest.mark.parametrize(("path", "transport"), [("/v1/segment", "http"), ("/v2/models/tiny/infer", "oip-http")])
@pytest.mark.parametrize("query", [{}, LEFT_TO_THE_APPLICATION], ids=["shed", "by the application"])
def test_a_rejection_is_counted_under_the_transport_of_its_path(busy, path, transport, query):
    before = requests_total(busy, transport)
    assert post(busy, path, **query).status_code == 429
    assert requests_total(busy, transport) == before + 1


def test_a_shed_request_is_logged_with_its_client(busy, caplog):
    with caplog.at_level(logging.INFO, "geminifusion.access"):
        response = post(busy, "/v1/segment", headers={"X-Request-Id": "cam-9"})
    assert response.headers["X-Request-Id"] == "cam-9"
    (record,) = [record for record in caplog.records if record.name == "geminifusion.access"]
    assert (record.code, record.request_id, record.client, record.status) == ("queue_full", "cam-9", "127.0.0.1", 429)


def test_a_full_server_that_asks_for_keys_checks_the_key_first(serving, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[camera]\nsha256 = "{hashlib.sha256(b"a key of the camera").hexdigest()}"\n')
    with full(serving, api_keys_file=str(keys)) as live:
        assert post(live, "/v1/segment").status_code == 401
