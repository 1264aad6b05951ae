"""Damaged requests, frames, messages and calls by the thousand against one server, and damaged graphs in ONNX Runtime.

`GEMINIFUSION_TEST_FUZZ=20000 pytest -m slow -s tests/service/fuzz/test_fuzz_transports.py` makes more of them, and says
what became of them.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from tests.service.attacks.conftest import Raw, eventually
from tests.service.attacks.test_websocket_attacks import frame
from tests.service.fuzz.mutations import mutated
from tests.translator_artifact import write_translator

from geminifusion.options import segment_call
from geminifusion.wire import frame_message
from geminifusion_service.pb import detection_pb2, translation_pb2
from geminifusion_service.pb import segmentation_pb2 as pb

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("GEMINIFUSION_TEST_FUZZ", "1500"))
CLIENTS = 8
PATIENCE_S = 0.25  # for a response to what may be half a request
MOST_BYTES = 512 * 2**20  # that the server and its decoders may grow by
TIMED_OUT = 504  # the right response to a deadline that damage made short
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS}
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_STATUS_OF_FRAME = re.compile(rb'"status": ?(\d+)')


@pytest.fixture(scope="module")
def live(serving, tiny_artifact, detector_artifact, tmp_path_factory):
    translator = write_translator(tmp_path_factory.mktemp("translator") / "to-image")
    with serving(
        artifacts=(tiny_artifact, detector_artifact, translator),
        decode_isolation="process",
        head_timeout_s=1,
        body_timeout_s=1,
        max_body_bytes=2**20,
    ) as running:
        yield running


def resident_bytes():
    """Of this process, in which the server runs, and of its decoders."""
    pids = [str(os.getpid())]
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            pids += (task / "children").read_text().split()
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


@pytest.fixture
def ask_all(live, pair):
    """`ask_all(name, ask, documents)` hands each to `ask`, which returns statuses, and checks the server afterwards."""

    def run(name, ask, documents):
        assert live.post(pair.files()).status_code == 200  # its decoders have started
        before = most = resident_bytes()
        statuses = Counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            for found in clients.map(ask, documents):
                statuses.update(found)
                most = max(most, resident_bytes())
        grown = (most - before) / 2**20
        print(f"{name}: {len(documents)}, {dict(sorted(statuses.items(), key=str))}, {grown:.0f} MiB more")
        assert [
            status for status in statuses if isinstance(status, int) and status >= 500 and status != TIMED_OUT
        ] == []
        assert FAULTS.isdisjoint(statuses)
        assert len(statuses) > 1, "all were answered alike, so what was damaged did not matter"
        assert grown * 2**20 < MOST_BYTES
        budget = live.server.segmenter.budget
        assert eventually(lambda: not any(budget.held(kind) for kind in ("bytes", "pixels", "elements")), 10)
        assert live.post(pair.files()).status_code == 200

    return run


def from_seeds(seed, seeds, count=COUNT, in_head=0.7):
    """Half of them damaged in one place, so that what comes after the first check is reached too."""
    random = np.random.default_rng(seed)
    return [
        mutated(random, seeds[random.integers(len(seeds))], most=(1, 8)[number % 2], in_head=in_head)
        for number in range(count)
    ]


def received(client):
    """What the server sends within the patience, or until it closes."""
    data, until = b"", time.monotonic() + PATIENCE_S
    with suppress(OSError):
        while (left := until - time.monotonic()) > 0:
            client.socket.settimeout(left)
            if not (more := client.socket.recv(65536)):
                break
            data += more
    return data


def http_seeds(pair, street):
    """Whole requests: forms, chunks with extensions and trailers, JSON, tensors, an upgrade."""

    def request(path, body, *, method="POST", **headers):
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body

    def form(path, files):
        made = httpx.Request("POST", f"http://localhost{path}", files=files)
        return made.read(), made.headers["content-type"]

    segment, kind = form("/v1/segment", pair.files())
    detect, detect_kind = form("/v1/detect", street.files())
    chunks = b"".join(
        f"{len(part):x};name=value\r\n".encode() + part + b"\r\n" for part in (segment[:999], segment[999:])
    )
    document = json.dumps({name: base64.b64encode(data).decode() for name, data in pair.files().items()}).encode()
    tensors = json.dumps(
        {
            "inputs": [
                {"name": "rgb", "datatype": "UINT8", "shape": [1, 16, 16, 3], "data": [7] * 768},
                {"name": "depth", "datatype": "FP32", "shape": [1, 16, 16], "data": [1.5] * 256},
            ]
        }
    ).encode()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    return [
        request(
            "/v1/segment?confidence=1&deadline_ms=9000",
            segment,
            **{"Content-Length": len(segment), "Content-Type": kind},
        ),
        request("/v1/detect?min_score=0.2", detect, **{"Content-Length": len(detect), "Content-Type": detect_kind}),
        request(
            "/v1/segment",
            chunks + b"0\r\nX-Checksum: 1\r\nX-Api-Key: none\r\n\r\n",
            **{"Transfer-Encoding": "chunked", "Content-Type": kind, "Trailer": "X-Checksum"},
        ),
        request("/v1/segment", document, **{"Content-Length": len(document), "Content-Type": "application/json"}),
        request("/v2/models/tiny_raw/infer", tensors, **{"Content-Length": len(tensors)}),
        request("/v1/stream", b"", method="GET", **upgrade, **{"Sec-WebSocket-Key": "YWFhYWFhYWFhYWFhYWFhYQ=="}),
        request("/v1/models", b"", method="GET", **{"Accept-Encoding": "gzip", "Expect": "100-continue"}),
    ]


def test_http_requests(live, ask_all, pair, make_street):
    def ask(data):
        client = Raw(live.server.http_port)
        with client.socket:
            client.send(data)
            return [int(status) for status in _STATUS.findall(received(client))] or ["none"]

    ask_all("HTTP requests", ask, from_seeds(1, http_seeds(pair, make_street())))


def test_websocket_frames(live, ask_all, pair):
    message = frame_message(segment_call(dict(pair.files()), {"confidence": True}))
    seeds = [
        frame(2, message) + frame(1, b"end"),
        frame(2, message[:500], fin=False) + frame(9, b"ping") + frame(0, message[500:]),
        frame(2, message) * 3 + frame(8, b"\x03\xe8"),
    ]

    def ask(data):
        client = Raw(live.server.http_port)
        with client.socket:
            if not client.open_stream().startswith(b"HTTP/1.1 101"):
                return [0]
            client.send(data)
            answered = received(client)
            errors = [int(status) for status in _STATUS_OF_FRAME.findall(answered)]
            return errors or ["closed" if b"\x88" in answered[:1] else "result" if b'"mask"' in answered else "none"]

    ask_all("WebSocket frames", ask, from_seeds(2, seeds, in_head=0.3))


def test_grpc_messages(live, ask_all, pair, make_street):
    street = make_street().files()
    rgb = pair.files()["rgb"]
    seeds = {
        "Segmentation/Segment": pb.SegmentRequest(images=pair.files(), confidence=True, intrinsics=[90, 90, 32, 24]),
        "Detection/Detect": detection_pb2.DetectRequest(**street, min_score=0.2),
        "Translation/Translate": translation_pb2.TranslateRequest(images={"rgb": rgb, "edge_occlusion": rgb}),
        "Segmentation/SegmentStream": pb.SegmentRequest(images=pair.files(), supersedable=True),
    }
    messages = [
        (name, data)
        for number, (name, seed) in enumerate(seeds.items())
        for data in from_seeds(10 + number, [seed.SerializeToString()], COUNT // 2, in_head=0.1)
    ]

    def ask(message):
        name, data = message
        path = f"/geminifusion.v1.{name}"
        try:
            if name.endswith("Stream"):
                answers = channel.stream_stream(path, response_deserializer=pb.SegmentStreamResponse.FromString)(
                    iter([data]), timeout=20
                )
                return [answer.error.http_status or "result" for answer in answers]
            channel.unary_unary(path)(data, timeout=20)
        except grpc.RpcError as error:
            return [error.code()]
        return ["result"]

    with grpc.insecure_channel(live.grpc_target) as channel:
        ask_all("gRPC messages", ask, messages)


def test_clouds_and_calibrations(live, ask_all, make_street):
    street = make_street()
    parts = [
        ("points", street.files()["points"]),
        ("points", street.npy()),
        ("calibration", street.files()["calibration"]),
        ("calibration", street.json()),
    ]
    documents = [
        (name, damaged)
        for number, (name, data) in enumerate(parts)
        for damaged in from_seeds(20 + number, [data], COUNT // 4, in_head=0.1)
    ]

    with httpx.Client(trust_env=False, timeout=20) as client:

        def ask(document):
            name, data = document
            return [client.post(f"{live.url}/v1/detect", files=street.files(**{name: data})).status_code]

        ask_all("clouds and calibrations", ask, documents)


OPEN_GRAPHS = """
import collections, dataclasses, os, pathlib, resource, shutil, sys
import numpy as np
from mutations import mutated
from geminifusion_runtime.artifact import ArtifactError, read_metadata, sha256_of, write_metadata
from geminifusion_runtime.model import Model

directory, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
graph, metadata = (directory / "model.onnx").read_bytes(), read_metadata(directory)
Model.open(directory, threads=1)
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
random, outcomes = np.random.default_rng(4), collections.Counter()
for number in range(count):
    (directory / "model.onnx").write_bytes(mutated(random, graph, most=(1, 3)[number % 2], in_head=0.05))
    files = metadata.files | {"model.onnx": sha256_of(directory / "model.onnx")}
    write_metadata(directory, dataclasses.replace(metadata, files=files))
    try:
        Model.open(directory, threads=1)
        outcomes["opened"] += 1
    except (ArtifactError, RuntimeError) as error:
        outcomes[type(error).__name__] += 1
    except BaseException:
        print("number", number, file=sys.stderr)
        raise
print(f"graphs in ONNX Runtime: {count}, {dict(outcomes)}, "
      f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB at most")
assert 0 < outcomes["opened"] < count
"""


def test_graphs_that_onnx_runtime_opens(tiny_artifact, tmp_path):

    directory = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    done = subprocess.run(
        [sys.executable, "-c", OPEN_GRAPHS, directory, str(COUNT)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), *sys.path]))},
        capture_output=True,
        text=True,
        timeout=max(120, COUNT),
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
