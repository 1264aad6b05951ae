"""Bodies that stop half-way, heads that come byte by byte, idle connections: others are served all the same."""

import resource
import socket
import time

import pytest

HOST = "127.0.0.1"


def eventually(condition, seconds=5.0):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_bodies_that_end_half_way_free_their_places(serving, raw_http, pair):
    with serving(queue_size=4) as live:
        for _ in range(12):
            client = raw_http(HOST, live.server.http_port)
            client.send(client.head + client.body[: len(client.body) // 2])
            client.close()
        assert eventually(lambda: live.post(pair.files()).status_code == 200)
        assert eventually(lambda: live.server.segmenter.state.value == "ready")


def test_a_body_that_stalls_is_answered_408_and_keeps_nobody_out(serving, raw_http, pair):
    with serving(body_timeout_s=0.7, queue_size=8) as live:
        stalled = [raw_http(HOST, live.server.http_port) for _ in range(4)]
        for client in stalled:
            client.send(client.head + client.body[:1000])
        assert live.post(pair.files()).status_code == 200
        for client in stalled:
            assert b"body_timeout" in (answer := client.answer())
            assert answer.startswith(b"HTTP/1.1 408")


def test_heads_that_come_byte_by_byte_are_cut_off(serving, raw_http, pair):
    with serving(head_timeout_s=0.6) as live:
        slow = [raw_http(HOST, live.server.http_port) for _ in range(20)]
        for byte in slow[0].head[:5]:
            for client in slow:
                client.send(bytes([byte]))
            time.sleep(0.05)
        assert live.post(pair.files()).status_code == 200
        start = time.monotonic()
        assert {client.status() for client in slow} <= {0, 408}
        assert time.monotonic() - start < 10


def idle_connections(port, count):
    opened = []
    for _ in range(count):
        opened.append(socket.create_connection((HOST, port), 10))
    return opened


@pytest.mark.slow
def test_idle_connections_cost_nobody_else_an_answer(server_process, pair):
    """Idle are those that never sent a byte; 10,000 where a process may open that many files."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(10_000, files - 300)
    with server_process("--head-timeout-s", 120, "--max-connections", count + 100) as server:
        idle = idle_connections(server.http_port, count)
        try:
            assert [server.post(pair.files()).status_code for _ in range(5)] == [200] * 5
        finally:
            for connection in idle:
                connection.close()
        assert eventually(lambda: server.post(pair.files()).status_code == 200)
