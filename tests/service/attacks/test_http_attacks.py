"""HTTP that would take memory, connections or other clients' places; V02, V05, V07, V08, V12, V20, V25, O1."""

import socket
import ssl
import threading
import time

import pytest
from tests.service.attacks.conftest import KEY, SMALL, Raw, eventually

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"0\r\n" + b"a:\r\n" * 60_000, id="trailers"),
        pytest.param(b"0\r\na: " + b"x" * 240_000, id="one long trailer"),
        pytest.param(b"1;" + b"x" * 240_000, id="a chunk extension"),
        pytest.param(b"1\r\nx\r\n" * 40_000, id="chunks of a byte"),
    ],
)
@pytest.mark.parametrize("server", ["small", "keyed"])
def test_what_is_neither_head_nor_body_is_bounded_before_any_key(server, endless, raw, held, request):
    live = request.getfixturevalue(server)
    client = raw(live)
    client.send((GET if server == "small" else POST) + CHUNKED)
    assert all(client.send(endless) for _ in range(2)) is False or client.is_closed_within(2)
    assert eventually(lambda: held(live) == 0)


def test_a_request_is_not_kept_open_after_its_response(small, raw):
    client = raw(small)
    client.send(GET + CHUNKED + b"5\r\nhello\r\n")
    assert client.head().startswith(b"HTTP/1.1 200")
    begin = time.monotonic()
    while time.monotonic() - begin < 3 and client.send(b"1\r\nx\r\n") and not client.is_closed_within(0.1):
        pass
    assert time.monotonic() - begin < 2


def test_line_breaks_between_requests_keep_no_connection_open(small, raw):
    client = raw(small)
    begin = time.monotonic()
    while time.monotonic() - begin < 3 and client.send(b"\r\n") and not client.is_closed_within(0.1):
        pass
    assert time.monotonic() - begin < 1.5


def test_bodies_that_are_announced_and_do_not_come_keep_nobody_out(small, raw, pair):
    for _ in range(8):
        client = raw(small)
        client.send(POST + b"Content-Length: 262144\r\n\r\n")
    assert eventually(lambda: small.post(pair.files()).status_code == 200, 2)


def test_bodies_that_are_announced_again_and_again_keep_nobody_out(serving, raw, pair):
    with serving(**SMALL, queue_size=4) as live:
        stop = threading.Event()

        def announce():
            while not stop.is_set():
                client = Raw(live.server.http_port)
                client.send(POST + b"Content-Length: 262144\r\n\r\n")
                stop.wait(0.25)
                client.socket.close()

        attackers = [threading.Thread(target=announce) for _ in range(5)]
        try:
            for attacker in attackers:
                attacker.start()
                time.sleep(0.05)
            statuses = []
            for _ in range(20):
                statuses.append(live.post(pair.files()).status_code)
                time.sleep(0.05)
        finally:
            stop.set()
            for attacker in attackers:
                attacker.join()
        assert statuses.count(200) >= 18


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_bodies_that_stall_hold_no_more_than_the_budget_and_give_way(small, raw, held, pair, framing):
    body = bytes(250_000)
    clients = []
    for _ in range(12):
        client = raw(small)
        client.send(
            POST + (CHUNKED + b"3d090\r\n" if framing == "chunked" else b"Content-Length: 260000\r\n\r\n") + body
        )
        clients.append(client)
        assert held(small) <= 1024 * 1024
    heads = []
    for client in clients:
        client.socket.settimeout(0.05)
        heads.append(client.head())
    refused = [head for head in heads if head]
    assert len(refused) >= 12 - 4
    assert all(b"429" in head.split(b"\r\n")[0] for head in refused)
    assert any(b"queue_full" in head or b"retry-after" in head.lower() for head in refused)
    # Those that stall have to give way.
    assert eventually(lambda: small.post(pair.files(pad=bytes(100_000))).status_code != 429)
    assert small.post(pair.files()).status_code == 200


def test_a_client_that_reads_no_response_is_given_up(serving, raw, held):
    with serving(keep_alive_s=1) as live:
        client = raw(live)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        client.send(request * 400)
        assert eventually(lambda: len(live.server._http.server_state.connections) == 1)
        assert eventually(lambda: not live.server._http.server_state.connections, 6)
        assert held(live) == 0


def test_credentials_come_from_one_place(keyed, raw):
    def status(*lines, trailer=b""):
        client = raw(keyed)
        client.send(
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"".join(line + b"\r\n" for line in lines) + trailer
        )
        return client.head()

    good, bad = b"X-Api-Key: " + KEY.encode(), b"X-Api-Key: bad"
    assert status(good, b"").startswith(b"HTTP/1.1 200")
    in_trailer = b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + good + b"\r\n\r\n"
    assert status(bad, trailer=in_trailer).startswith(b"HTTP/1.1 401")
    assert status(trailer=in_trailer).startswith(b"HTTP/1.1 401")
    bearer = b"Authorization: Bearer "
    for twice in ((bad, good), (good, good), (bearer + b"bad", bearer + KEY.encode())):
        answer = status(*twice, b"")
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"came twice; send it once" in answer


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b"Host: localhost\r\nHost: other\r\n", b"host came twice"),
        (b"", b"host is missing"),
        (b"Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n", b"send chunked alone"),
        (b"Host: localhost\r\nTransfer-Encoding: identity\r\n", b""),
        (b"Host: localhost\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n", b"content-type came twice"),
    ],
)
def test_framing_that_a_proxy_could_read_otherwise_is_rejected(small, raw, lines, said):
    client = raw(small)
    client.send(b"POST /v1/segment HTTP/1.1\r\n" + lines + b"\r\n0\r\n\r\n")
    answer = client.head()
    assert answer.startswith(b"HTTP/1.1 400")
    assert said in answer
    assert client.is_closed_within(1)


def test_a_length_of_thousands_of_digits_is_no_defect_of_the_server(small, raw):
    client = raw(small)
    client.send(
        b"POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"0" * 3000 + b"2\r\n\r\n{}"
    )
    assert client.head().split(b" ")[1] in (b"200", b"400")


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST /v1/segment HTTP/1.1\r\nContent-Length: 5\r\n",
        b"GET /v1/stream HTTP/1.1\r\nContent-Length: 5\r\n",
        b"GET /v1/stream HTTP/1.1\r\nContent-Length: 0\r\n",
        b"GET /v1/stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        b"PUT /v1/stream HTTP/1.1\r\n",
    ],
)
def test_an_upgrade_with_a_body_is_rejected_and_its_connection_closed(small, raw, request_line):
    client = raw(small)
    client.send(request_line + b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    answer = client.head()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"a WebSocket is opened by GET without a body" in answer
    assert client.is_closed_within(1)


def test_an_upgrade_that_names_no_version_is_answered_and_closed(small, raw):
    client = raw(small)
    client.send(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert client.is_closed_within(2)


def test_pipelined_requests_are_all_answered(small, raw):
    client = raw(small)
    client.send((GET + b"\r\n") * 500)
    received = b""
    client.socket.settimeout(5)
    while received.count(b"HTTP/1.1 200") < 500:
        data = client.socket.recv(1 << 20)
        assert data, received.count(b"HTTP/1.1 200")
        received += data


def test_connections_that_do_not_finish_tls_count_and_are_closed(serving, tmp_path):
    trustme = pytest.importorskip("trustme", reason="makes the certificates; it is in the extra dev")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    tls = {"tls_certificate": str(tmp_path / "certificate.pem"), "tls_key": str(tmp_path / "key.pem")}
    with serving(max_connections=8, head_timeout_s=0.6, **tls) as live:
        address = ("127.0.0.1", live.server.http_port)
        silent = [socket.create_connection(address, 10) for _ in range(8)]
        time.sleep(0.1)
        with socket.create_connection(address, 10) as ninth:
            assert ninth.recv(1) == b""  # at once
        for one in silent:
            one.settimeout(3)
            assert one.recv(1) == b""
            one.close()
        with (
            socket.create_connection(address, 10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            wrapped.sendall(GET + b"\r\n")
            assert wrapped.recv(100).startswith(b"HTTP/1.1 200")


def test_elements_of_json_arrays_are_counted_before_they_are_parsed(serving, raw):
    with serving(max_inflight_elements=1000) as live:
        other = live.server.segmenter.budget.open()
        other.take(elements=900)
        body = b'{"inputs":[' + b"[]," * 200 + b"[]]}"
        client = raw(live)
        head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.send(head + body)
        assert client.head().startswith(b"HTTP/1.1 429")
        other.close()
        client = raw(live)
        client.send(head + body)
        assert client.head().startswith(b"HTTP/1.1 400")
