"""The same pair gets the same bits in process, by REST, by gRPC, and by Open Inference on both transports."""

import cv2
import grpc
import httpx
import numpy as np
import pytest

import geminifusion
from geminifusion_runtime.bundled import artifact_path, demo_pairs
from geminifusion_service.pb import open_inference_pb2, segmentation_pb2
from geminifusion_service.pb.open_inference_pb2_grpc import GRPCInferenceServiceStub
from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def by_rest(live, files, _, scale, markers):
    named = {"depth_invalid": ",".join(map(str, markers))} if markers else {}
    return decoded(live.post(files, depth_scale=scale, **named).content), None


def by_grpc(live, files, _, scale, markers):
    request = segmentation_pb2.SegmentRequest(images=files, depth_scale=scale, depth_invalid=markers, confidence=True)
    with grpc.insecure_channel(live.grpc_target) as channel:
        answer = SegmentationStub(channel).Segment(request)
    return decoded(answer.mask), answer.confidence.float16


def tensors(files, arrays, *, raw):
    if raw:
        return {name: ("UINT8" if array.ndim == 3 else "UINT16", array[None]) for name, array in arrays.items()}
    with_length = {name: len(data).to_bytes(4, "little") + data for name, data in files.items()}
    return {name: ("BYTES", np.frombuffer(data, np.uint8)) for name, data in with_length.items()}


def model_of(live, *, raw):
    name = next(iter(live.server.segmenter.models)).metadata.name
    return f"{name}_raw" if raw else name


def by_open_inference_http(live, files, arrays, scale, markers, *, raw):
    inputs = tensors(files, arrays, raw=raw)
    several = ",".join(map(str, markers))
    named = {"depth_invalid": markers[0] if len(markers) == 1 else several} if markers else {}
    document = {
        "parameters": {"depth_scale": scale, "binary_data_output": True, **named},
        "inputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": list(value.shape) if raw else [1],
                "parameters": {"binary_data_size": value.nbytes},
            }
            for name, (datatype, value) in inputs.items()
        ],
        "outputs": [{"name": "labels"}, {"name": "confidence"}],
    }
    with httpx.Client(trust_env=False, timeout=60) as client:
        request = client.build_request("POST", f"{live.url}/v2/models/{model_of(live, raw=raw)}/infer", json=document)
        header = request.read()
        answer = client.post(
            request.url,
            content=b"".join([header, *(value.tobytes() for _, value in inputs.values())]),
            headers={"Inference-Header-Content-Length": str(len(header))},
        )
    body = answer.content[int(answer.headers["Inference-Header-Content-Length"]) :]
    return split(body, arrays)


def by_open_inference_grpc(live, files, arrays, scale, markers, *, raw):
    request = open_inference_pb2.ModelInferRequest(model_name=model_of(live, raw=raw))
    for name, (datatype, value) in tensors(files, arrays, raw=raw).items():
        request.inputs.add(name=name, datatype=datatype, shape=value.shape if raw else [1])
        request.raw_input_contents.append(value.tobytes())
    for name in ("labels", "confidence"):
        request.outputs.add(name=name)
    request.parameters["depth_scale"].double_param = scale
    if len(markers) == 1:
        request.parameters["depth_invalid"].int64_param = markers[0]
    elif markers:
        request.parameters["depth_invalid"].string_param = ",".join(map(str, markers))
    with grpc.insecure_channel(live.grpc_target) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request)
    return split(b"".join(answer.raw_output_contents), arrays)


def split(body, arrays):
    height, width = arrays["depth"].shape
    labels = np.frombuffer(body[: height * width], np.uint8).reshape(height, width)
    return labels, np.frombuffer(body[height * width :], "<f4").astype("<f2").tobytes()


ROADS = {
    "REST": by_rest,
    "gRPC": by_grpc,
    "Open Inference HTTP, files": lambda *frame: by_open_inference_http(*frame, raw=False),
    "Open Inference HTTP, pixels": lambda *frame: by_open_inference_http(*frame, raw=True),
    "Open Inference gRPC, files": lambda *frame: by_open_inference_grpc(*frame, raw=False),
    "Open Inference gRPC, pixels": lambda *frame: by_open_inference_grpc(*frame, raw=True),
}


def assert_all_agree(live, segment, files, scale, markers=()):
    arrays = {
        "rgb": cv2.cvtColor(decoded(files["rgb"]), cv2.COLOR_BGR2RGB),
        "depth": decoded(files["depth"]),
    }
    here = segment(files["rgb"], files["depth"], depth_scale=scale, depth_invalid=markers)
    for road, ask in ROADS.items():
        labels, confidence = ask(live, files, arrays, scale, markers)
        np.testing.assert_array_equal(labels, here.labels, err_msg=road)
        if confidence is not None:
            assert confidence == here.confidence.astype("<f2").tobytes(), road
    return here


def test_every_road_gives_the_same_bits(live_server, tiny_artifact, make_pair):
    segment = geminifusion.load(tiny_artifact, threads=1)
    for seed in range(3):
        assert_all_agree(live_server, segment, make_pair(seed, 40 + seed, 72).files(), 0.0013)


@pytest.mark.parametrize("markers", [(65535,), (65535, 9)])
def test_marks_of_no_measurement_travel_every_road(live_server, tiny_artifact, make_pair, markers):
    segment = geminifusion.load(tiny_artifact, threads=1)
    pair = make_pair(3, 40, 72)
    depth = pair.depth_mm.copy()
    depth[5:30, ::2] = 65535
    files = pair.files(depth=cv2.imencode(".png", depth)[1].tobytes())
    here = assert_all_agree(live_server, segment, files, 0.0013, markers)
    unmarked = segment(files["rgb"], files["depth"], depth_scale=0.0013)
    assert (here.labels != unmarked.labels).any()


def test_decoding_in_processes_changes_no_bit(serving, tiny_artifact, make_pair):
    segment = geminifusion.load(tiny_artifact, threads=1)
    with serving(decode_isolation="process") as live:
        assert_all_agree(live, segment, make_pair(0, 40, 72).files(), 0.0013)


@pytest.mark.slow
def test_every_road_gives_the_same_bits_of_the_bundled_model_on_real_pairs(serving):
    segment = geminifusion.load(threads=1)
    with serving(artifacts=(artifact_path(),)) as live:
        for pair in demo_pairs().values():
            files = {"rgb": pair.rgb.read_bytes(), "depth": pair.depth.read_bytes()}
            assert_all_agree(live, segment, files, pair.depth_scale)
