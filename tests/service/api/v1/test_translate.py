"""`POST /v1/translate`, and what becomes of requests for the wrong task."""

import base64
import io

import cv2
import grpc
import httpx
import numpy as np
import pytest
from tests.service.conftest import running_server
from tests.translator_artifact import expected_output, write_translator

from geminifusion_runtime.png_encoder import encode_png
from geminifusion_service.api.v1 import translation_servicer
from geminifusion_service.api.v1.grpc_options import TRANSLATE_MESSAGES
from geminifusion_service.pb import (
    open_inference_pb2,
    open_inference_pb2_grpc,
    translation_pb2,
    translation_pb2_grpc,
)

SIZE = (50, 70)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return {
        "rgb": rng.integers(0, 200, (*SIZE, 3), dtype=np.uint8),
        "edge": rng.integers(0, 50, SIZE, dtype=np.uint8),
    }


@pytest.fixture(scope="module")
def files(images):
    return {name: encode_png(image) for name, image in images.items()}


@pytest.fixture(scope="module")
def live(tiny_artifact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("translators")
    artifacts = (write_translator(folder / "image"), write_translator(folder / "depth", "depth"), tiny_artifact)
    with running_server(artifacts[0], artifacts=artifacts) as server:
        yield server


def post(live, path, files, **query):
    return httpx.post(f"{live.url}{path}", params=query, files=files, trust_env=False)


def test_a_picture_is_answered_as_png_or_npy(live, files, images):
    response = post(live, "/v1/translate", files)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-geminifusion-domain"] == "normal"
    assert response.headers["x-geminifusion-size"] == f"{SIZE[1]}x{SIZE[0]}"
    found = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(found, expected_output("image", **images))
    array = np.load(io.BytesIO(post(live, "/v1/translate", files, format="npy").content))
    np.testing.assert_array_equal(array, found)


def test_depth_is_answered_in_millimetres_whose_scale_is_told(live, files, images):
    response = post(live, "/v1/translate", files, model="to-depth")
    scale = float(response.headers["x-geminifusion-depth-scale"])
    found = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint16
    np.testing.assert_allclose(found * scale, expected_output("depth", **images), atol=scale / 2 + 1e-6)
    accepted = httpx.post(
        f"{live.url}/v1/translate",
        params={"model": "to-depth"},
        files=files,
        headers={"Accept": "application/x-npy"},
        trust_env=False,
    )
    assert "x-geminifusion-depth-scale" not in accepted.headers
    np.testing.assert_array_equal(np.load(io.BytesIO(accepted.content)), expected_output("depth", **images))


@pytest.mark.parametrize(("path", "model", "right"), [
    ("/v1/segment", "to-depth", "POST /v1/translate"),
    ("/v1/translate", "tiny", "POST /v1/segment"),
])  # fmt: skip
def test_a_request_of_another_task_is_told_where_it_belongs(live, files, path, model, right):
    response = post(live, path, files, model=model)
    assert (response.status_code, response.json()["code"]) == (400, "wrong_task")
    assert right in response.json()["detail"]


def test_without_a_name_a_task_has_its_own_first_model(live, files, pair):
    assert post(live, "/v1/segment", pair.files()).headers["x-geminifusion-model"] == "tiny@1"
    assert post(live, "/v1/translate", files).headers["x-geminifusion-model"] == "to-image@1"


def test_parts_options_and_damage_are_refused_as_for_any_task(live, files):
    missing = post(live, "/v1/translate", {"rgb": files["rgb"]})
    assert (missing.status_code, missing.json()["code"]) == (400, "missing_part")
    unknown = post(live, "/v1/translate", files, overlay_on="rgb")
    assert unknown.json()["code"] == "invalid_option"
    broken = post(live, "/v1/translate", files | {"rgb": files["rgb"][:100]})
    assert broken.json()["code"] == "undecodable_image"
    mixed = post(live, "/v1/translate", files | {"edge": encode_png(np.zeros((20, 30), np.uint8))})
    assert (mixed.status_code, mixed.json()["code"]) == (422, "size_mismatch")


def test_discovery_tells_the_task(live):
    described = {model["name"]: model for model in live.get("/v1/models").json()["models"]}
    assert described["to-depth"]["task"] == "image-translation"
    assert described["to-depth"]["output"]["kind"] == "depth"
    assert described["tiny"]["task"] == "semantic-segmentation"
    paths = live.get("/openapi.json").json()["paths"]
    parts = paths["/v1/translate"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(parts) == {"rgb", "edge"}
    segment = paths["/v1/segment"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(segment) == {"rgb", "depth"}


def infer(live, model, inputs, outputs=()):
    body = {
        "inputs": [
            {"name": name, "datatype": "UINT8", "shape": list(array.shape), "data": array.ravel().tolist()}
            for name, array in inputs.items()
        ],
        "outputs": [{"name": name} for name in outputs],
    }
    return httpx.post(f"{live.url}/v2/models/{model}/infer", json=body, trust_env=False).json()


@pytest.mark.parametrize(("kind", "datatype"), [("image", "UINT8"), ("depth", "FP32")])
def test_open_inference_gives_the_pixels_of_a_batch_and_its_metadata(live, images, kind, datatype):
    pairs = [images, {name: np.ascontiguousarray(array[::-1]) for name, array in images.items()}]
    batch = {name: np.stack([pair[name] for pair in pairs]) for name in images}
    (tensor,) = infer(live, f"to-{kind}_raw", batch)["outputs"]
    found = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    assert (tensor["name"], tensor["datatype"]) == (kind, datatype)
    expected = np.stack([expected_output(kind, **pair) for pair in pairs])
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    described = live.get(f"/v2/models/to-{kind}_raw").json()
    assert [output["name"] for output in described["outputs"]] == [kind]
    assert live.get(f"/v2/models/to-{kind}").json()["outputs"] == [
        {"name": "file", "datatype": "BYTES", "shape": [-1, 1]}
    ]


def test_open_inference_gives_the_file_of_http_and_no_output_of_another_task(live, files, images):
    (tensor,) = infer(live, "to-image", {name: array[None] for name, array in images.items()}, ["file"])["outputs"]
    assert base64.b64decode(tensor["data"][0]) == post(live, "/v1/translate", files).content
    refused = infer(live, "to-image", {name: array[None] for name, array in images.items()}, ["labels"])
    assert "there is no output 'labels'; expected file, image" in refused["error"]


def test_grpc_gives_the_bytes_of_http_and_tells_where_other_requests_belong(live, files):
    with grpc.insecure_channel(live.grpc_target) as channel:
        stub = translation_pb2_grpc.TranslationStub(channel)
        for model, file_format in (("to-image", "png"), ("to-depth", "png"), ("to-depth", "npy")):
            number = TRANSLATE_MESSAGES.number("format", file_format)
            message = stub.Translate(translation_pb2.TranslateRequest(images=files, model=model, format=number))
            response = post(live, "/v1/translate", files, model=model, format=file_format)
            assert message.file == response.content
            assert message.domain == response.headers["x-geminifusion-domain"]
            assert message.HasField("depth_scale") == ("x-geminifusion-depth-scale" in response.headers)
        with pytest.raises(grpc.RpcError, match=r"POST /v1/segment \(gRPC Segment"):
            stub.Translate(translation_pb2.TranslateRequest(images=files, model="tiny"))


@pytest.mark.parametrize("kind", ["image", "depth"])
def test_open_inference_over_grpc_gives_the_files_and_pixels_of_http(live, files, images, kind):
    request = open_inference_pb2.ModelInferRequest
    encoded = request(
        model_name=f"to-{kind}",
        inputs=[
            request.InferInputTensor(name=name, datatype="BYTES", shape=[1, 1], contents={"bytes_contents": [content]})
            for name, content in files.items()
        ],
    )
    raw = request(
        model_name=f"to-{kind}_raw",
        inputs=[
            request.InferInputTensor(name=name, datatype="UINT8", shape=[1, *image.shape])
            for name, image in images.items()
        ],
        raw_input_contents=[image.tobytes() for image in images.values()],
    )
    with grpc.insecure_channel(live.grpc_target) as channel:
        stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        (file,) = stub.ModelInfer(encoded).outputs
        answer = stub.ModelInfer(raw)
    assert list(file.contents.bytes_contents) == [post(live, "/v1/translate", files, model=f"to-{kind}").content]
    expected = expected_output(kind, **images)
    assert [(one.name, list(one.shape)) for one in answer.outputs] == [(kind, [1, *expected.shape])]
    assert answer.raw_output_contents[0] == expected.tobytes()


def refused_by_http(live, files, model, options):
    problem = post(live, "/v1/translate", files, model=model, **options).json()
    return problem["code"], problem["detail"]


def refused_by_open_inference(live, files, model, options):
    name, _, version = model.partition("@")
    inputs = [
        {"name": part, "datatype": "BYTES", "shape": [1, 1], "data": [base64.b64encode(content).decode()]}
        for part, content in files.items()
    ]
    path = f"/v2/models/{name}{f'/versions/{version}' if version else ''}/infer"
    response = httpx.post(live.url + path, json={"inputs": inputs, "parameters": options}, trust_env=False)
    return None, response.json()["error"]


def refused_by_grpc(live, files, model, _options):
    message = translation_pb2.TranslateRequest(images=files, model=model)
    with grpc.insecure_channel(live.grpc_target) as channel, pytest.raises(grpc.RpcError) as error:
        translation_pb2_grpc.TranslationStub(channel).Translate(message)
    return dict(error.value.trailing_metadata())["code"], error.value.details()


def refused_by_open_inference_over_grpc(live, files, model, options):
    name, _, version = model.partition("@")
    inputs = [
        {"name": part, "datatype": "BYTES", "shape": [1, 1], "contents": {"bytes_contents": [content]}}
        for part, content in files.items()
    ]
    message = open_inference_pb2.ModelInferRequest(
        model_name=name,
        model_version=version,
        inputs=inputs,
        parameters={key: {"string_param": value} for key, value in options.items()},
    )
    with grpc.insecure_channel(live.grpc_target) as channel, pytest.raises(grpc.RpcError) as error:
        open_inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message)
    return dict(error.value.trailing_metadata())["code"], error.value.details()


REFUSALS = {
    "HTTP": refused_by_http,
    "gRPC": refused_by_grpc,
    "Open Inference over HTTP": refused_by_open_inference,
    "Open Inference over gRPC": refused_by_open_inference_over_grpc,
}
NOT_TRAINED = [
    ({"model": "to-night"}, "model_not_found", "to-night"),
    ({"model": "to-image@7"}, "model_not_found", "to-image@7"),
    ({"part": "thermal"}, "unknown_part", "'thermal'"),
    ({"parameter": "domain"}, "invalid_option", "'domain'"),
]


@pytest.mark.parametrize(("asked", "code", "says"), NOT_TRAINED)
@pytest.mark.parametrize("transport", REFUSALS)
def test_what_the_model_was_not_trained_for_is_named(live, files, transport, asked, code, says):
    """A domain is asked for by the model that makes it, and given as a part; there is no option of one."""
    if transport == "gRPC" and "parameter" in asked:
        pytest.skip("the message has no field of that name")
    given = files | ({asked["part"]: files["rgb"]} if "part" in asked else {})
    model = asked.get("model", "to-image")
    found, sentence = REFUSALS[transport](live, given, model, {"domain": "night"} if "parameter" in asked else {})
    assert found in (code, None), sentence
    assert says in sentence
    assert "\n" not in sentence


def test_a_response_that_does_not_become_a_message_is_our_internal_error_over_grpc(live, files, monkeypatch):
    def fails(_):
        raise ValueError("secret")

    monkeypatch.setattr(translation_servicer, "response_message", fails)
    with grpc.insecure_channel(live.grpc_target) as channel:
        stub = translation_pb2_grpc.TranslationStub(channel)
        with pytest.raises(grpc.RpcError, match="the server failed on this request") as error:
            stub.Translate(translation_pb2.TranslateRequest(images=files))
    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.value.details()
