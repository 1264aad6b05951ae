"""Frames that are work without content, and messages that do not end; V08, V17."""

import struct
import time

from tests.service.attacks.conftest import eventually


def frame(opcode, data=b"", *, fin=True, length=None):
    size = len(data) if length is None else length
    head = struct.pack(">BB", (0x80 if fin else 0) | opcode, 0x80 | (size if size < 126 else 127))
    return head + (struct.pack(">Q", size) if size >= 126 else b"") + bytes(4) + data


def close_code(client):
    """Of the close frame that the server sends."""
    client.socket.settimeout(5)
    received = b""
    while not received.startswith(b"\x88"):
        data = client.socket.recv(65536)
        assert data
        received += data
        while received[:1] == b"\x8a":  # a pong
            received = received[2 + received[1] :]
    return struct.unpack(">H", received[2:4])[0], received[4 : 2 + received[1]]


def test_fragments_without_content_end_the_stream(small, raw):
    client = raw(small)
    assert client.open_stream().startswith(b"HTTP/1.1 101")
    begin = time.process_time()
    client.send(frame(2, fin=False) + frame(0, fin=False) * 40_000)
    code, reason = close_code(client)
    assert code == 1008
    assert b"more than 1024 fragments; send it in fewer" in reason
    assert time.process_time() - begin < 1


def test_a_flood_of_pings_ends_the_stream(small, raw):
    client = raw(small)
    assert client.open_stream().startswith(b"HTTP/1.1 101")
    client.send(frame(9, b"x") * 200)
    assert close_code(client)[0] == 1008


def test_messages_that_do_not_end_hold_no_more_than_the_budget_and_give_way(small, raw, held, pair):
    streams = []
    for number in range(12):
        client = raw(small)
        assert client.open_stream().startswith(b"HTTP/1.1 101")
        if number % 2:
            client.send(frame(2, bytes(100_000), fin=False) + frame(0, bytes(100_000), fin=False))
        else:
            client.send(frame(2, bytes(200_000), length=250_000))
        streams.append(client)
        assert held(small) <= 1024 * 1024
    assert eventually(lambda: held(small) > 600_000)
    assert close_code(streams[-1])[0] == 1013
    assert eventually(lambda: small.post(pair.files(pad=bytes(200_000))).status_code != 429)
    for client in streams:
        client.socket.close()
    assert eventually(lambda: held(small) == 0)


def test_a_message_gives_its_bytes_back(small, raw, held):
    client = raw(small)
    client.open_stream()
    for _ in range(20):
        client.send(frame(2, bytes(200_000)))
        assert client.socket.recv(65536)
    assert eventually(lambda: held(small) == 0)
