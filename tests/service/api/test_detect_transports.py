"""Detection over HTTP, gRPC and the Open Inference Protocol: the same boxes, and the same sentences."""

from __future__ import annotations

import base64

import grpc
import httpx
import numpy as np
import pytest

from geminifusion_service.api.v1.grpc_options import DETECT_MESSAGES
from geminifusion_service.pb import detection_pb2, open_inference_pb2
from geminifusion_service.pb.detection_pb2_grpc import DetectionStub
from geminifusion_service.pb.open_inference_pb2_grpc import GRPCInferenceServiceStub

TRANSPORTS = ("HTTP", "gRPC", "Open Inference over HTTP", "Open Inference over gRPC")
OUTPUTS = {
    "boxes": ("FP32", 7),
    "scores": ("FP32", None),
    "labels": ("UINT8", None),
    "camera_boxes": ("FP64", 7),
    "alphas": ("FP64", None),
    "image_boxes": ("FP64", 4),
}
DTYPES = {"FP32": np.float32, "FP64": np.float64, "UINT8": np.uint8}
SINGULAR = {
    "P2": b"P2: 100 0 100 4 0 100 30 0 0 0 0 0",
    "Tr_velo_to_cam": b"Tr_velo_to_cam: 0 -1 0 0 0 -1 0 0 1 0 0 0",
    "R0_rect": b"R0_rect: 0 0 0 0 0 0 0 0 0",
}


@pytest.fixture(scope="module")
def detector(detector_artifact, serving_artifact):
    with serving_artifact(detector_artifact) as live:
        yield live


@pytest.fixture(scope="module")
def channel(detector):
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(detector.grpc_target, options) as opened:
        yield opened


@pytest.fixture(scope="module")
def http(detector):
    with httpx.Client(trust_env=False, base_url=detector.url) as client:
        yield client


def infer_request(files, outputs=()):
    inputs = [
        open_inference_pb2.ModelInferRequest.InferInputTensor(
            name=name, datatype="BYTES", shape=[1, 1], contents={"bytes_contents": [content]}
        )
        for name, content in files.items()
    ]
    return open_inference_pb2.ModelInferRequest(
        model_name="street", inputs=inputs, outputs=[{"name": name} for name in outputs]
    )


def infer_body(files, outputs=()):
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [base64.b64encode(content).decode()]}
        for name, content in files.items()
    ]
    return {"inputs": inputs, "outputs": [{"name": name} for name in outputs]}


@pytest.fixture
def refused(http, channel):
    """`refused(transport, files)`: status over HTTP or None, code or None, and the sentence."""

    def over_grpc(call, message):
        with pytest.raises(grpc.RpcError) as error:
            call(message)
        code = dict(error.value.trailing_metadata())["code"]
        assert error.value.details().startswith(f"{code}: ")
        return None, code, error.value.details().removeprefix(f"{code}: ")

    def asked(transport, files):
        if transport == "HTTP":
            response = http.post("/v1/detect", files=files)
            problem = response.json()
            return response.status_code, problem["code"], problem["detail"]
        if transport == "gRPC":
            return over_grpc(DetectionStub(channel).Detect, detection_pb2.DetectRequest(**files))
        if transport == "Open Inference over HTTP":
            response = http.post("/v2/models/street/infer", json=infer_body(files))
            return response.status_code, None, response.json()["error"]
        return over_grpc(GRPCInferenceServiceStub(channel).ModelInfer, infer_request(files))

    return asked


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("change", "status", "code", "says"),
    [
        ({"points": b"\0" * 17}, 400, "undecodable_points", "17 bytes"),
        (
            {"points": np.random.default_rng(0).uniform(-40, 40, (400, 3)).astype("<f4").tobytes()},
            400, "undecodable_points", "points is no P x 4 sweep",
        ),
        ({"points": np.full((3, 4), np.nan, np.float32).tobytes()}, 400, "undecodable_points", "NaN"),
        ({"points": np.full((3, 4), -9, np.float32).tobytes()}, 422, "no_points_in_range", "none of the 3 points"),
        ({"points": np.zeros((2**20 + 1, 4), np.float32).tobytes()}, 413, "too_many_points", "1048576"),
        ({"calibration": b"nothing"}, 400, "undecodable_calibration", "no P2"),
        ({"rgb": b"nothing"}, 400, "undecodable_image", "rgb is no image"),
        ({"thermal": b"x"}, 400, "unknown_part", "no input 'thermal'"),
        ({"calibration": None}, 400, "missing_part", "calibration is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(change, status, code, says, transport, refused, make_street):
    if transport == "gRPC" and "thermal" in change:
        pytest.skip("the message has no field for other parts")
    files = {name: content for name, content in (make_street().files() | change).items() if content is not None}
    found_status, found_code, sentence = refused(transport, files)
    assert found_status in (status, None), sentence
    assert found_code in (code, None), sentence
    assert says in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", SINGULAR)
def test_a_calibration_that_cannot_be_inverted_is_named(name, transport, refused, make_street):
    files = make_street().files()
    lines = [SINGULAR[name] if line.startswith(name.encode()) else line for line in files["calibration"].splitlines()]
    status, code, sentence = refused(transport, files | {"calibration": b"\n".join(lines)})
    assert status in (400, None)
    assert code in ("undecodable_calibration", None)
    assert sentence.startswith(f"{name} of the calibration cannot be inverted; send")


def test_open_inference_gives_what_detect_does_over_both_of_its_transports(http, channel, make_street):
    files = make_street().files()
    boxes = http.post("/v1/detect", files=files).json()["boxes"]
    assert len(boxes) > 3
    kitti = DetectionStub(channel).Detect(
        detection_pb2.DetectRequest(**files, format=DETECT_MESSAGES.number("format", "kitti"))
    )
    columns = {
        "boxes": [[*box["lidar"]["center"], *box["lidar"]["size"], box["lidar"]["yaw"]] for box in boxes],
        "scores": [box["score"] for box in boxes],
        "labels": [box["class_id"] for box in boxes],
        "camera_boxes": [
            [*box["camera"]["location"], *box["camera"]["dimensions"], box["camera"]["rotation_y"]] for box in boxes
        ],
        "alphas": [box["camera"]["alpha"] for box in boxes],
        "image_boxes": [box["image"] for box in boxes],
    }
    names = [*OUTPUTS, "kitti"]
    message = GRPCInferenceServiceStub(channel).ModelInfer(infer_request(files, names))
    document = http.post("/v2/models/street/infer", json=infer_body(files, names)).json()
    assert [one.name for one in message.outputs] == [one["name"] for one in document["outputs"]] == names
    for tensor, output in zip(message.outputs[:-1], document["outputs"][:-1], strict=True):
        datatype, width = OUTPUTS[tensor.name]
        shape = [len(boxes)] if width is None else [len(boxes), width]
        expected = np.array(columns[tensor.name], DTYPES[datatype])
        assert (tensor.datatype, list(tensor.shape)) == (output["datatype"], output["shape"]) == (datatype, shape)
        (_, contents), *others = tensor.contents.ListFields()
        assert not others
        for data in (contents, output["data"]):
            np.testing.assert_array_equal(np.array(data, DTYPES[datatype]).reshape(shape), expected)
    assert list(message.outputs[-1].contents.bytes_contents) == [kitti.file]
    assert [base64.b64decode(text) for text in document["outputs"][-1]["data"]] == [kitti.file]
    assert kitti.file.startswith((b"Car", b"Pedestrian"))


def test_open_inference_takes_points_as_numbers_and_describes_them(http, channel, make_street):
    street = make_street()
    files = street.files()
    stub = GRPCInferenceServiceStub(channel)
    inputs = infer_body(files)["inputs"]
    numbers = [float(x) for x in street.points.ravel()]
    inputs[1] = {"name": "points", "datatype": "FP32", "shape": list(street.points.shape), "data": numbers}
    answer = http.post("/v2/models/street/infer", json={"inputs": inputs}).json()
    assert [one["name"] for one in answer["outputs"]] == ["boxes", "scores", "labels"]
    message = infer_request(files)
    message.inputs[1].CopyFrom(
        open_inference_pb2.ModelInferRequest.InferInputTensor(
            name="points", datatype="FP32", shape=street.points.shape, contents={"fp32_contents": numbers}
        )
    )
    for found in (stub.ModelInfer(message), stub.ModelInfer(infer_request(files))):
        assert list(found.outputs[0].contents.fp32_contents) == answer["outputs"][0]["data"]
    described = stub.ModelMetadata(open_inference_pb2.ModelMetadataRequest(name="street"))
    assert [one.name for one in described.inputs] == ["rgb", "points", "calibration"]
    assert [one["name"] for one in http.get("/v2/models/street").json()["inputs"]] == ["rgb", "points", "calibration"]
    assert http.get("/v2/models/street/config").json()["max_batch_size"] == 1


def test_an_output_that_there_is_not_is_refused_and_all_are_named(http, make_street):
    answer = http.post("/v2/models/street/infer", json=infer_body(make_street().files(), ["lidar"])).json()
    assert answer["error"].endswith(f"expected {', '.join([*OUTPUTS, 'kitti'])}")
