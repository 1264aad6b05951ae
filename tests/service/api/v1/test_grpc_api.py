"""gRPC against the same live server: the same bits, the same errors."""

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from geminifusion_service.api.v1.servicer import SERVICE_NAME
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub

FORMATS = {
    "png": pb.MASK_FORMAT_PNG,
    "palette": pb.MASK_FORMAT_PALETTE,
    "overlay": pb.MASK_FORMAT_OVERLAY,
    "npz": pb.MASK_FORMAT_NPZ,
}


@pytest.fixture
def channel(live_server):
    with grpc.insecure_channel(live_server.grpc_target) as opened:
        yield opened


@pytest.fixture
def stub(channel):
    return SegmentationStub(channel)


def assert_refused(call, status, code):
    with pytest.raises(grpc.RpcError) as refused:
        call()
    error = refused.value
    assert error.code() is status
    assert dict(error.trailing_metadata())["code"] == code
    assert error.details().startswith(f"{code}: ")


@pytest.mark.parametrize("name", FORMATS)
def test_masks_are_the_bytes_of_http(stub, live_server, pair, name):
    answer = stub.Segment(pb.SegmentRequest(images=pair.files(), format=FORMATS[name]))
    http = live_server.post(pair.files(), format=name).content
    if name == "npz":  # a zip file holds the time it was written
        assert len(answer.mask) == len(http)
    else:
        assert answer.mask == http
    assert (answer.height, answer.width, answer.model) == (48, 64, "tiny@1")


def test_runs_classes_and_maps_are_those_of_http(stub, live_server, pair):
    answer = stub.Segment(pb.SegmentRequest(images=pair.files(), format=pb.MASK_FORMAT_RLE, confidence=True, gate=True))
    http = live_server.post(pair.files(), format="json", confidence=1, gate=1).json()
    assert answer.mask == b""
    assert [(runs.class_id, runs.counts) for runs in answer.rle] == [
        (runs["class_id"], runs["counts"]) for runs in http["mask"]["rle"]
    ]
    assert [
        {
            "id": c.id,
            "name": c.name,
            "color": [c.color.red, c.color.green, c.color.blue],
            "pixels": c.pixels,
            "fraction": c.fraction,
            "median_depth_m": c.median_depth_m,
            "nearest_depth_m": c.nearest_depth_m,
            "space": None,  # no camera was named
        }
        for c in answer.classes
    ] == http["classes"]
    for name, health in answer.sensors.items():
        assert http["sensors"][name]["holes"] == health.holes
        assert http["sensors"][name]["noise"] == health.noise
    assert set(answer.sensors) == {"rgb", "depth"}
    assert [answer.gate.height, answer.gate.width] == http["gate"]["shape"]
    assert np.frombuffer(answer.confidence.float16, "<f2").size == 12 * 16


def test_classes_can_come_beside_a_picture(stub, pair):
    answer = stub.Segment(pb.SegmentRequest(images=pair.files(), classes=True, request_id="r-1"))
    assert sum(share.pixels for share in answer.classes) == 48 * 64
    assert answer.mask.startswith(b"\x89PNG")
    assert answer.request_id == "r-1"
    assert answer.batch_size == 1
    assert answer.timings_ms.decode > 0


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"images": {}}, grpc.StatusCode.INVALID_ARGUMENT, "missing_part"),
        ({"images": {"rgb": b"text", "depth": b"text"}}, grpc.StatusCode.INVALID_ARGUMENT, "undecodable_image"),
        ({"model": "huge"}, grpc.StatusCode.NOT_FOUND, "model_not_found"),
        ({"depth_scale": -1.0}, grpc.StatusCode.INVALID_ARGUMENT, "invalid_option"),
        ({"depth_invalid": [float("inf")]}, grpc.StatusCode.INVALID_ARGUMENT, "invalid_option"),
        ({"format": 77}, grpc.StatusCode.INVALID_ARGUMENT, "invalid_option"),
        ({"request_id": "a b"}, grpc.StatusCode.INVALID_ARGUMENT, "invalid_option"),
    ],
)
def test_errors_carry_the_code_of_http(stub, pair, fields, status, code):
    request = pb.SegmentRequest(**({"images": pair.files()} | fields))
    assert_refused(lambda: stub.Segment(request), status, code)
    assert stub.Segment(pb.SegmentRequest(images=pair.files())).height == 48


def test_a_deadline_in_the_message_or_of_the_call_is_kept(stub, make_pair):
    files = make_pair(0, 1500, 2000).files()
    late = grpc.StatusCode.DEADLINE_EXCEEDED
    assert_refused(lambda: stub.Segment(pb.SegmentRequest(images=files, deadline_ms=1)), late, "deadline_exceeded")
    with pytest.raises(grpc.RpcError) as refused:  # the client's library gives up by itself
        stub.Segment(pb.SegmentRequest(images=files), timeout=0.005)
    assert refused.value.code() is late


def test_a_message_beyond_the_limit_is_refused(serving, pair):
    with serving(max_body_bytes=1024) as live, grpc.insecure_channel(live.grpc_target) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            SegmentationStub(channel).Segment(pb.SegmentRequest(images=pair.files(rgb=bytes(200_000))))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_stream_answers_in_order_and_outlives_a_bad_frame(stub, make_pair):
    sizes = [(400, 500), (48, 64), (48, 64), (300, 300), (48, 64), (48, 64), (48, 64), (48, 64)]
    pairs = [make_pair(seed, *size) for seed, size in enumerate(sizes)]
    requests = [pb.SegmentRequest(images=p.files(), request_id=f"f{i}") for i, p in enumerate(pairs)]
    requests[2].images["rgb"] = b"broken"
    answers = list(stub.SegmentStream(iter(requests)))
    assert [answer.request_id for answer in answers] == [f"f{i}" for i in range(8)]
    assert [answer.WhichOneof("result") for answer in answers] == ["error" if i == 2 else "response" for i in range(8)]
    assert (answers[2].error.code, answers[2].error.http_status) == ("undecodable_image", 400)
    alone = stub.Segment(requests[5]).mask
    assert answers[5].response.mask == alone


def test_an_abandoned_stream_leaves_the_server_well(stub, live_server, pair):
    endless = iter(lambda: pb.SegmentRequest(images=pair.files()), None)
    call = stub.SegmentStream(endless)
    next(call)
    call.cancel()
    assert live_server.post(pair.files()).status_code == 200


def test_models_are_listed(stub, live_server):
    (model,) = stub.ListModels(pb.ListModelsRequest()).models
    assert (model.name, model.version) == ("tiny", "1")
    assert [spec.name for spec in model.classes] == ["dark near", "dark far", "bright near", "bright far"]
    assert '"max_pixels": 19200' in model.json


def test_health_says_serving(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE_NAME):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_service(channel):
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(requests)
    assert SERVICE_NAME in [service.name for service in answer.list_services_response.service]
