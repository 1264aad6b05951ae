"""What a request leaves behind: a log line a machine can read, and spans in the trace of its caller; V19."""

import http.server
import json
import logging
import sys
import threading

import cv2
import grpc
import httpx
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from geminifusion_runtime.decoding.images import decode_depth
from geminifusion_runtime.errors import UndecodableImageError
from geminifusion_service.observability.logs import JsonFormatter, TextFormatter, set_up_logging
from geminifusion_service.observability.request_context import RequestContext, current_request_context, set_client
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb import segmentation_pb2_grpc

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
DAMAGED_TIFF = cv2.imencode(
    ".tiff", np.arange(4000, dtype=np.uint16).reshape(40, 100), [cv2.IMWRITE_TIFF_COMPRESSION, 8]
)[1]
DAMAGED_TIFF[8:60] = 255  # inside the packed pixels
DAMAGED_TIFF = DAMAGED_TIFF.tobytes()


@pytest.fixture
def lines():
    """The access lines written meanwhile, as JSON."""
    found = []
    handler = logging.Handler()
    handler.setFormatter(JsonFormatter())
    handler.emit = lambda record: found.append(json.loads(handler.format(record)))
    logger = logging.getLogger("geminifusion.access")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def collector():
    """A real receiver of OTLP over HTTP, and what it was sent."""
    spans = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            message = ExportTraceServiceRequest()
            message.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            spans.extend(span for part in message.resource_spans for scope in part.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_is_one_line_with_its_id_code_and_stages(live_server, pair, lines):
    with httpx.Client(trust_env=False) as client:
        client.post(
            f"{live_server.url}/v1/segment",
            files=pair.files(),
            headers={"X-Request-Id": "cam-1", "X-Api-Key": "not-for-logs"},
        )
    assert len(lines) == 1
    line = lines[0]
    assert (line["request_id"], line["code"], line["transport"], line["model"]) == ("cam-1", "ok", "http", "tiny@1")
    assert line["client"] == "127.0.0.1"
    assert {"receive_ms", "decode_ms", "queue_ms", "compute_ms", "encode_ms", "ms", "batch_size"} <= set(line)
    assert line["ms"] >= line["compute_ms"] > 0
    assert "not-for-logs" not in json.dumps(line)


@pytest.mark.parametrize("frames", [False, True], ids=["a call", "a stream"])
def test_a_line_over_grpc_names_the_clients_address(live_server, pair, lines, frames):
    message = pb.SegmentRequest(images=pair.files())
    with grpc.insecure_channel(live_server.grpc_target) as channel:
        stub = segmentation_pb2_grpc.SegmentationStub(channel)
        if frames:
            list(stub.SegmentStream(iter([message])))
        else:
            stub.Segment(message)
    (line,) = lines
    assert (line["transport"], line["client"]) == ("grpc", "127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("unix:", "unix"),
        ("unix:%00name", "unix"),
    ],
)
def test_every_kind_of_peer_has_a_name(peer, client):
    set_client(peer)
    assert current_request_context().client == client


def test_a_refused_request_is_a_line_with_its_error(live_server, pair, lines):
    live_server.post(pair.files(depth=b"no image"), request_id="broken")
    assert [(line["request_id"], line["code"], line["status"]) for line in lines] == [
        ("broken", "undecodable_image", 400)
    ]


@pytest.mark.parametrize(
    ("query", "content_type", "code"),
    [("?nothing=1", "image/png", "invalid_option"), ("", "text/plain", "unsupported_media_type")],
)
def test_a_request_refused_on_its_head_is_one_line_too(live_server, lines, query, content_type, code):
    with httpx.Client(trust_env=False) as client:
        url = f"{live_server.url}/v1/segment{query}"
        client.post(url, content=b"x", headers={"Content-Type": content_type, "X-Request-Id": "head-1"})
    assert [(line["request_id"], line["code"]) for line in lines] == [("head-1", code)]


def test_a_body_that_cannot_be_read_is_one_line_too(live_server, lines):
    with httpx.Client(trust_env=False) as client:
        client.post(f"{live_server.url}/v1/segment", content=b"{", headers={"Content-Type": "application/json"})
    assert [line["code"] for line in lines] == ["malformed_body"]


def test_a_wrong_key_is_a_line_without_the_key(serving, tmp_path, lines):
    path = tmp_path / "keys.toml"
    path.write_text(f'[a]\nsha256 = "{"0" * 64}"\n')
    with serving(api_keys_file=str(path)) as live, httpx.Client(trust_env=False) as client:
        client.get(f"{live.url}/v1/models", headers={"X-Api-Key": "guess-77"})
    assert [(line["code"], line["status"]) for line in lines] == [("unauthenticated", 401)]
    assert "guess-77" not in json.dumps(lines)


def test_text_lines_show_the_same_fields():
    record = logging.makeLogRecord({"name": "x", "levelno": 20, "levelname": "INFO", "msg": "request", "code": "ok"})
    assert TextFormatter().format(record).endswith("INFO x: request code=ok")


def test_what_clients_send_forges_no_line_of_the_text_log():
    forged = "x\n2026-11-27 13:00:00,000 INFO geminifusion.access: request\x1b[2J\u2028\x9b31m\r"
    record = logging.makeLogRecord({"msg": "request %s", "args": (forged,), "model": forged, "levelname": "INFO"})
    try:
        raise ValueError(forged)
    except ValueError:
        record.exc_info = sys.exc_info()
    text = TextFormatter().format(record)
    first, *traceback = text.split("\n")
    assert r"x\n2026-11-27" in first
    assert traceback
    assert all(line.startswith("  ") for line in traceback)
    assert all(character.isprintable() for line in (first, *traceback) for character in line)


def test_an_exception_is_one_json_line():
    try:
        raise KeyError("boom")
    except KeyError as error:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": (KeyError, error, error.__traceback__)})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "KeyError" in json.loads(line)["exception"]


async def test_stages_are_spans_in_the_callers_trace_over_both_transports(serving, pair, collector):
    endpoint, spans = collector
    with serving(otlp_endpoint=endpoint) as live:
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"{live.url}/v1/segment"
            assert (await client.post(url, files=pair.files(), headers={"traceparent": TRACEPARENT})).is_success
        async with grpc.aio.insecure_channel(live.grpc_target) as channel:
            stub = segmentation_pb2_grpc.SegmentationStub(channel)
            await stub.Segment(pb.SegmentRequest(images=pair.files()), metadata=[("traceparent", TRACEPARENT)])
    roots = [span for span in spans if span.name == "segment"]
    assert len(roots) == 2
    for root in roots:
        assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, CALLER)
        stages = [span for span in spans if span.parent_span_id == root.span_id]
        assert [span.name for span in stages] == ["receive", "decode", "queue", "compute", "encode"]
        assert all(
            root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
            for span in stages
        )


def refused(live, pair, headers):
    """What a client is told of a request that failed: over HTTP, over the Open Inference Protocol, over gRPC."""
    broken = pair.files(depth=b"no image")
    with httpx.Client(trust_env=False, headers=headers) as client:
        http = client.post(f"{live.url}/v1/segment", files=broken).json()
        open_inference = client.post(f"{live.url}/v2/models/tiny/infer", content=b"{").json()
    with grpc.insecure_channel(live.grpc_target) as channel, pytest.raises(grpc.RpcError) as error:
        segmentation_pb2_grpc.SegmentationStub(channel).Segment(
            pb.SegmentRequest(images=broken), metadata=tuple(headers.items())
        )
    return http, open_inference, dict(error.value.trailing_metadata())


def test_an_error_names_the_trace_the_caller_has_begun(live_server, pair, lines):
    http, open_inference, metadata = refused(live_server, pair, {"traceparent": TRACEPARENT})
    assert http["trace_id"] == metadata["x-trace-id"] == TRACE
    assert set(open_inference) == {"error", "code", "request_id"}
    assert {line["trace_id"] for line in lines} == {TRACE}
    with httpx.Client(trust_env=False) as client:
        missing = client.get(f"{live_server.url}/v1/models/huge", headers={"traceparent": TRACEPARENT})
    assert missing.json()["trace_id"] == TRACE


def test_an_error_names_the_trace_that_began_here(serving, pair, lines, collector):
    endpoint, spans = collector
    with serving(otlp_endpoint=endpoint) as live:
        http, _, metadata = refused(live, pair, {})
        assert "trace_id" not in live.get("/v1/models/huge").json()  # no span was written of it
    recorded = [span.trace_id.hex() for span in spans if span.name == "segment"]
    assert recorded == [line["trace_id"] for line in lines]
    assert [http["trace_id"], metadata["x-trace-id"]] == [recorded[0], recorded[-1]]
    assert recorded[0] != recorded[-1]


def test_an_error_without_a_trace_names_none(live_server, pair, lines):
    http, _, metadata = refused(live_server, pair, {})
    assert "trace_id" not in http
    assert "x-trace-id" not in metadata
    assert not any("trace_id" in line for line in lines)


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (TRACEPARENT, TRACE),
        (f"cc-{TRACE}-{CALLER}-01-more", TRACE),
        (f"{TRACEPARENT}-more", None),
        (f"ff-{TRACE}-{CALLER}-01", None),
        (f"00-{'0' * 32}-{CALLER}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (TRACEPARENT.upper(), None),
        ("", None),
    ],
)
def test_a_traceparent_is_read_as_opentelemetry_reads_it(traceparent, trace_id):
    assert RequestContext(headers={"traceparent": traceparent}).trace_id == trace_id
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    span = trace.get_current_span(context).get_span_context()
    assert (format(span.trace_id, "032x") if span.is_valid else None) == trace_id


def test_a_damaged_image_leaves_no_lines_of_a_library_in_the_log(capfd):
    root, level = logging.getLogger(), cv2.utils.logging.getLogLevel()
    before = list(root.handlers), root.level
    try:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
        set_up_logging("json", "info")
        with pytest.raises(UndecodableImageError):
            decode_depth(DAMAGED_TIFF, max_pixels=10_000)
    finally:
        root.handlers[:], root.level = before
        cv2.utils.logging.setLogLevel(level)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("sent", "kept"), [(b"run-7", True), (b"two words", False), (b"", False)])
def test_a_request_is_called_what_its_client_calls_it_where_that_is_safe(sent, kept):
    context = RequestContext.of_http("http", [(b"x-request-id", sent), (b"x-other", b"1")], ("10.0.0.7", 4711))
    assert (context.request_id == sent.decode()) is kept
    assert context.request_id
    assert (context.client, context.headers["x-other"]) == ("10.0.0.7", "1")
