"""The same scene gets the same bits in process, by REST, by gRPC, and by Open Inference on both transports."""

import io

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


def plain(value):
    """An option of several numbers as text, separated by commas; one number as it is."""
    if not isinstance(value, tuple):
        return value
    return value[0] if len(value) == 1 else ",".join(map(str, value))


def maps_of(arrays):
    return ("confidence", "modality_weights") if len(arrays) > 2 else ("confidence",)


def by_rest(live, files, arrays, options):
    named = {name: plain(value) for name, value in options.items()}
    mask = decoded(live.post(files, **named).content)
    with np.load(io.BytesIO(live.post(files, format="npz", **named).content)) as maps:
        np.testing.assert_array_equal(maps["labels"], mask)
        weights = [maps[name] for name in maps if name.startswith("modality_weights_")]
        assert len(weights) == (len(arrays) - 1 if len(arrays) > 2 else 0)
        return mask, [maps["confidence"].astype("<f2").tobytes(), *(one.astype("<f2").tobytes() for one in weights)]


def by_grpc(live, files, arrays, options):
    request = segmentation_pb2.SegmentRequest(images=files, confidence=True, gate=True)
    for name, value in options.items():
        modality, _, kind = name.rpartition("_")
        if name in ("depth_scale", "depth_invalid"):
            if isinstance(value, tuple):
                getattr(request, name).extend(value)
            else:
                setattr(request, name, value)
        elif kind == "scale":
            request.scales[modality] = value
        else:
            request.invalids[modality].values.extend(value)
    with grpc.insecure_channel(live.grpc_target) as channel:
        answer = SegmentationStub(channel).Segment(request)
    others = list(arrays)[1:] if len(arrays) > 2 else []
    assert set(answer.modality_weights) == set(others)
    weights = [answer.modality_weights[name].float16 for name in others]
    return decoded(answer.mask), [answer.confidence.float16, *weights]


def tensors(files, arrays, *, raw):
    if raw:
        datatypes = {"uint8": "UINT8", "uint16": "UINT16", "float32": "FP32"}
        return {name: (datatypes[array.dtype.name], array[None]) for name, array in arrays.items()}
    with_length = {name: len(data).to_bytes(4, "little") + data for name, data in files.items()}
    return {name: ("BYTES", np.frombuffer(data, np.uint8)) for name, data in with_length.items()}


def model_of(live, *, raw):
    name = next(iter(live.server.segmenter.models)).metadata.name
    return f"{name}_raw" if raw else name


def by_open_inference_http(live, files, arrays, options, *, raw):
    inputs = tensors(files, arrays, raw=raw)
    document = {
        "parameters": {"binary_data_output": True, **{name: plain(value) for name, value in options.items()}},
        "inputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": list(value.shape) if raw else [1],
                "parameters": {"binary_data_size": value.nbytes},
            }
            for name, (datatype, value) in inputs.items()
        ],
        "outputs": [{"name": name} for name in ("labels", *maps_of(arrays))],
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


def by_open_inference_grpc(live, files, arrays, options, *, raw):
    request = open_inference_pb2.ModelInferRequest(model_name=model_of(live, raw=raw))
    for name, (datatype, value) in tensors(files, arrays, raw=raw).items():
        request.inputs.add(name=name, datatype=datatype, shape=value.shape if raw else [1])
        request.raw_input_contents.append(value.tobytes())
    for name in ("labels", *maps_of(arrays)):
        request.outputs.add(name=name)
    for name, value in options.items():
        value = plain(value)
        kind = {str: "string_param", int: "int64_param", float: "double_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    with grpc.insecure_channel(live.grpc_target) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request)
    return split(b"".join(answer.raw_output_contents), arrays)


def split(body, arrays):
    height, width = next(iter(arrays.values())).shape[:2]
    labels = np.frombuffer(body[: height * width], np.uint8).reshape(height, width)
    maps = np.frombuffer(body[height * width :], "<f4").astype("<f2")
    count = len(arrays) if len(arrays) > 2 else 1  # the confidence, and the weights of all but the first
    return labels, [one.tobytes() for one in np.split(maps, count)]


ROADS = {
    "REST": by_rest,
    "gRPC": by_grpc,
    "Open Inference HTTP, files": lambda *frame: by_open_inference_http(*frame, raw=False),
    "Open Inference HTTP, pixels": lambda *frame: by_open_inference_http(*frame, raw=True),
    "Open Inference gRPC, files": lambda *frame: by_open_inference_grpc(*frame, raw=False),
    "Open Inference gRPC, pixels": lambda *frame: by_open_inference_grpc(*frame, raw=True),
}


def assert_all_agree(live, segment, files, options):
    arrays = {name: decoded(data) for name, data in files.items()}
    arrays = {name: array[..., ::-1].copy() if array.ndim == 3 else array for name, array in arrays.items()}
    here = segment(**files, **options)
    maps = [here.confidence, *(here.modality_weights[name] for name in list(files)[1:] if len(files) > 2)]
    for road, ask in ROADS.items():
        labels, answered = ask(live, files, arrays, options)
        np.testing.assert_array_equal(labels, here.labels, err_msg=road)
        assert answered == [values.astype("<f2").tobytes() for values in maps], road
    return here


def test_every_road_gives_the_same_bits(live_server, tiny_artifact, make_pair):
    segment = geminifusion.load(tiny_artifact, threads=1)
    for seed in range(3):
        assert_all_agree(live_server, segment, make_pair(seed, 40 + seed, 72).files(), {"depth_scale": 0.0013})


@pytest.mark.parametrize("markers", [(65535,), (65535, 9)])
def test_marks_of_no_measurement_travel_every_road(live_server, tiny_artifact, make_pair, markers):
    segment = geminifusion.load(tiny_artifact, threads=1)
    pair = make_pair(3, 40, 72)
    depth = pair.depth_mm.copy()
    depth[5:30, ::2] = 65535
    files = pair.files(depth=cv2.imencode(".png", depth)[1].tobytes())
    here = assert_all_agree(live_server, segment, files, {"depth_scale": 0.0013, "depth_invalid": markers})
    unmarked = segment(files["rgb"], files["depth"], depth_scale=0.0013)
    assert (here.labels != unmarked.labels).any()


RNG = np.random.default_rng(5)


def picture_of(shape, low, high, dtype):
    """Soft blobs, so that a sensor that delivers them seems to work."""
    small = RNG.integers(low, high, (6, 8, *shape[2:])).astype(np.float32)
    return cv2.resize(small, shape[1::-1]).astype(dtype)


def scene_of(specs, shape=(41, 72)):
    """An image of every modality, as a lossless file."""
    images = {
        "intensity": lambda spec: picture_of((*shape, 3) if spec.channels == 3 else shape, 0, 256, np.uint8),
        "metre": lambda _: picture_of(shape, 500, 9500, np.uint16),
        "count": lambda spec: picture_of(shape, *map(int, spec.range), np.uint16),
    }
    return {spec.name: cv2.imencode(".png", images[spec.unit](spec))[1].tobytes() for spec in specs}


@pytest.fixture(scope="module")
def thermal_artifact(make_sensor_artifact, make_spec, tmp_path_factory):
    specs = [make_spec("rgb", encoding="imagenet"), make_spec("thermal", unit="count")]
    return make_sensor_artifact(tmp_path_factory.mktemp("artifacts") / "thermal", specs)


@pytest.fixture(scope="module")
def four_artifact(make_sensor_artifact, make_spec, tmp_path_factory):
    specs = [
        make_spec("rgb", encoding="imagenet", optional=True),
        make_spec("lidar", encoding="metric", unit="metre", optional=True),
        make_spec("event", channels=3, optional=True),
        make_spec("thermal", unit="count", optional=True),
    ]
    return make_sensor_artifact(tmp_path_factory.mktemp("artifacts") / "four", specs)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_16_bit_thermal_pictures_travel_every_road(serving, thermal_artifact, isolation):
    segment = geminifusion.load(thermal_artifact, threads=1)
    files = scene_of(segment.metadata.modalities)
    counts = decoded(files["thermal"])
    counts[5:30, ::2] = 65535
    files["thermal"] = cv2.imencode(".png", counts)[1].tobytes()
    with serving(artifacts=(thermal_artifact,), decode_isolation=isolation) as live:
        here = assert_all_agree(live, segment, files, {"thermal_invalid": (65535,)})
        unmarked = assert_all_agree(live, segment, files, {})
    assert len(np.unique(here.labels)) == 4
    assert (here.labels != unmarked.labels).any()


def test_four_modalities_travel_every_road_with_their_options(serving, four_artifact):
    segment = geminifusion.load(four_artifact, threads=1)
    files = scene_of(segment.metadata.modalities)
    with serving(artifacts=(four_artifact,)) as live:
        here = assert_all_agree(live, segment, files, {"lidar_scale": 0.0013, "thermal_invalid": (65535, 9)})
    assert len(np.unique(here.labels)) > 8
    assert set(here.modality_weights) == {"lidar", "event", "thermal"}


def test_any_of_four_modalities_may_be_absent_on_every_road(serving, four_artifact):
    segment = geminifusion.load(four_artifact, threads=1)
    files = scene_of(segment.metadata.modalities)
    with serving(artifacts=(four_artifact,)) as live:
        for absent in ("rgb", "event"):
            kept = {name: data for name, data in files.items() if name != absent}
            here = segment(**kept)
            arrays = {name: decoded(data) for name, data in kept.items()}
            arrays = {name: array[..., ::-1].copy() if array.ndim == 3 else array for name, array in arrays.items()}
            for raw in (False, True):
                inputs = tensors(kept, arrays, raw=raw)
                request = open_inference_pb2.ModelInferRequest(model_name=model_of(live, raw=raw))
                for name, (datatype, value) in inputs.items():
                    request.inputs.add(name=name, datatype=datatype, shape=value.shape if raw else [1])
                    request.raw_input_contents.append(value.tobytes())
                request.outputs.add(name="labels")
                with grpc.insecure_channel(live.grpc_target) as channel:
                    answer = GRPCInferenceServiceStub(channel).ModelInfer(request)
                assert answer.raw_output_contents[0] == here.labels.tobytes()
            response = live.post(kept)
            np.testing.assert_array_equal(decoded(response.content), here.labels)
            assert f"no {absent} was sent" in response.headers["X-Geminifusion-Warnings"]


def test_decoding_in_processes_changes_no_bit(serving, tiny_artifact, make_pair):
    segment = geminifusion.load(tiny_artifact, threads=1)
    with serving(decode_isolation="process") as live:
        assert_all_agree(live, segment, make_pair(0, 40, 72).files(), {"depth_scale": 0.0013})


@pytest.mark.slow
def test_every_road_gives_the_same_bits_of_the_bundled_model_on_real_pairs(serving):
    segment = geminifusion.load(threads=1)
    with serving(artifacts=(artifact_path(),)) as live:
        for pair in demo_pairs().values():
            files = {"rgb": pair.rgb.read_bytes(), "depth": pair.depth.read_bytes()}
            assert_all_agree(live, segment, files, {"depth_scale": pair.depth_scale})
