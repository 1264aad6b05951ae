"""`POST /v1/detect`: boxes of one frame, over HTTP and in every format."""

from __future__ import annotations

import base64
import http.client
import io
import json
from contextlib import contextmanager

import cv2
import httpx
import numpy as np
import pytest


@pytest.fixture(scope="module")
def detector(detector_artifact, serving_artifact):
    with serving_artifact(detector_artifact) as live:
        yield live


@pytest.fixture
def post(detector):
    def posted(files, **query):
        with httpx.Client(trust_env=False) as client:
            return client.post(f"{detector.url}/v1/detect", params=query, files=files)

    return posted


def test_the_boxes_come_in_all_axes(post, make_street):
    response = post(make_street().files())
    assert response.status_code == 200, response.text
    found = response.json()
    assert found["model"] == "street@1"
    assert found["size"] == {"height": 60, "width": 200}
    assert found["num_points"] > 100
    scores = [box["score"] for box in found["boxes"]]
    assert scores == sorted(scores, reverse=True)
    assert {box["class"] for box in found["boxes"]} == {"pedestrian", "car"}
    assert response.headers["X-Geminifusion-Boxes"] == str(len(scores))


def test_every_form_of_a_part_gives_the_same_boxes(post, make_street):
    street = make_street()
    boxes = [
        post(street.files(**changes)).json()["boxes"]
        for changes in ({}, {"points": street.npy()}, {"calibration": street.json()})
    ]
    assert boxes[0] == boxes[1] == boxes[2]


def test_kitti_text_has_a_line_a_box(post, make_street):
    street = make_street()
    response = post(street.files(), format="kitti")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert len(lines) == len(post(street.files()).json()["boxes"])
    assert all(len(line.split()) == 16 for line in lines)


@pytest.mark.parametrize(("name", "size"), [("overlay", (60, 200)), ("bev", (800, 800))])
def test_drawings_are_pngs(name, size, post, make_street):
    response = post(make_street().files(), format=name)
    assert response.headers["content-type"] == "image/png"
    picture = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[:2] == size


def test_a_higher_score_leaves_the_surest(post, make_street):
    street = make_street()
    every = post(street.files()).json()["boxes"]
    limit = every[len(every) // 2]["score"]
    sure = post(street.files(), min_score=limit).json()["boxes"]
    assert sure == [box for box in every if box["score"] > limit]


def test_a_size_of_no_image_is_refused_and_ends_no_decoding_process(post, make_street):
    document = make_street().calibration.as_document() | {"image_size": [10**20, 5]}
    response = post(make_street().files(calibration=json.dumps(document).encode()))
    assert (response.status_code, response.json()["code"]) == (400, "undecodable_calibration"), response.text
    assert "image_size of the calibration" in response.json()["detail"]


def test_a_missing_part_is_named(post, make_street):
    files = make_street().files()
    del files["calibration"]
    problem = post(files).json()
    assert problem["code"] == "missing_part"
    assert problem["detail"].startswith("calibration is missing")


def test_an_unknown_option_is_refused(post, make_street):
    assert post(make_street().files(), min_scor=0.5).json()["code"] == "invalid_option"


def test_a_deadline_that_has_passed_is_504(post, make_street):
    assert post(make_street().files(), deadline_ms=0.001).status_code == 504


def test_requests_of_another_task_are_sent_elsewhere(detector, make_street):
    with httpx.Client(trust_env=False) as client:
        files = {"rgb": make_street().files()["rgb"]}
        problem = client.post(f"{detector.url}/v1/segment", files=files).json()
    assert problem["code"] == "wrong_task"
    assert "POST /v1/detect" in problem["detail"]


@pytest.fixture
def room_for(serving_artifact, detector_artifact):
    """`with room_for(120) as live`: a server whose other requests leave that many elements of the budget."""

    @contextmanager
    def room(elements):
        with (
            serving_artifact(detector_artifact, max_inflight_elements=100_000) as live,
            live.server.segmenter.budget.open() as others,
        ):
            others.take(elements=100_000 - elements)
            yield live

    return room


@pytest.mark.parametrize("form", ["bin", "float64 P x 4", "uint8 P x 3"])
def test_a_cloud_counts_with_16_bytes_a_point_whatever_its_file(form, room_for, make_street):
    street = make_street()
    stream = io.BytesIO()
    np.save(stream, street.points.astype(float) if form == "float64 P x 4" else np.full((300, 3), 2, np.uint8))
    files = street.files() if form == "bin" else street.files(points=stream.getvalue())
    assert len(street.points) == 300
    statuses = []
    for elements in (119, 120):
        with room_for(elements) as live, httpx.Client(trust_env=False) as client:
            statuses.append(client.post(f"{live.url}/v1/detect", files=files).status_code)
    assert statuses == [429, 422 if form == "uint8 P x 3" else 200]


def test_points_count_as_no_pixels(serving_artifact, detector_artifact, make_street):
    """With these pixels taken by others the image has room beside them; a request that has none waits."""
    street = make_street()
    pixels = street.rgb.shape[0] * street.rgb.shape[1]
    with (
        serving_artifact(detector_artifact, max_pixels=100_000, max_inflight_pixels=100_000) as live,
        live.server.segmenter.budget.open() as others,
        httpx.Client(trust_env=False) as client,
    ):
        others.take(pixels=100_000 - pixels)
        files = street.files(points=street.npy())
        answer = client.post(f"{live.url}/v1/detect", params={"deadline_ms": 5000}, files=files)
    assert answer.status_code == 200, answer.text


def test_points_in_json_count_once(room_for, make_street):
    street = make_street()
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [base64.b64encode(content).decode()]}
        for name, content in street.files().items()
        if name != "points"
    ]
    numbers = [float(x) for x in street.points.ravel()]
    inputs.append({"name": "points", "datatype": "FP32", "shape": list(street.points.shape), "data": numbers})
    body = json.dumps({"inputs": inputs}).encode()
    with room_for(body.count(b",")) as live, httpx.Client(trust_env=False) as client:
        answer = client.post(f"{live.url}/v2/models/street/infer", content=body)
    assert answer.status_code == 200, answer.text


def test_too_many_points_are_refused_before_the_image_is_decoded(post, make_street):
    files = make_street().files(rgb=b"no image", points=np.zeros((2**20 + 1, 4), np.float32).tobytes())
    assert post(files).json()["code"] == "too_many_points"


@pytest.mark.parametrize(
    ("path", "code"), [("/v1/detect?model=nothing", "model_not_found"), ("/v1/translate", "wrong_task")]
)
def test_a_request_for_no_model_of_the_task_is_refused_before_its_body_is_read(path, code, detector):
    client = http.client.HTTPConnection(detector.url.removeprefix("http://"), timeout=5)
    client.putrequest("POST", path)
    client.putheader("Content-Type", "application/json")
    client.putheader("Content-Length", "1000")
    client.endheaders()
    assert json.loads(client.getresponse().read())["code"] == code
    client.close()


def test_models_and_the_document_describe_it(detector):
    model = detector.get("/v1/models/street").json()
    assert model["task"] == "object-detection-3d"
    assert [one["name"] for one in model["anchors"]["classes"]] == ["pedestrian", "cyclist", "car"]
    assert model["self_test"]["passed"]
    assert "/v1/detect" in detector.get("/openapi.json").json()["paths"]
