"""The tensors of a model follow from its modalities, whatever their names."""

import httpx
import numpy as np
import pytest


@pytest.fixture(scope="module")
def live(serving, make_sensor_artifact, make_spec, tmp_path_factory):
    four = [
        make_spec("rgb", encoding="imagenet", optional=True),
        make_spec("lidar", encoding="metric", unit="metre"),
        make_spec("event", channels=3, optional=True),
        make_spec("thermal", unit="count"),
    ]
    folder = tmp_path_factory.mktemp("artifacts")
    artifacts = (
        make_sensor_artifact(folder / "four", four),
        make_sensor_artifact(folder / "night", [make_spec("thermal", unit="count"), make_spec("event", channels=3)]),
    )
    with serving(artifacts=artifacts) as server:
        yield server


def infer(live, model, inputs, outputs=()):
    document = {
        "inputs": [
            {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}
            for name, (datatype, array) in inputs.items()
        ],
        "outputs": [{"name": name} for name in outputs],
    }
    with httpx.Client(trust_env=False) as client:
        return client.post(f"{live.url}/v2/models/{model}/infer", json=document)


def frame(shape=(2, 24, 32)):
    rng = np.random.default_rng(0)
    return {
        "lidar": ("FP32", rng.uniform(0, 10, shape).astype(np.float32)),
        "thermal": ("UINT16", rng.integers(28_000, 31_000, shape).astype(np.uint16)),
    }


def test_metadata_has_the_datatypes_and_shapes_of_the_modalities(live):
    document = live.get("/v2/models/four_raw").json()
    assert [(one["name"], one["datatype"], one["shape"]) for one in document["inputs"]] == [
        ("rgb", "UINT8", [-1, -1, -1, 3]),
        ("lidar", "FP32", [-1, -1, -1]),
        ("event", "UINT8", [-1, -1, -1, 3]),
        ("thermal", "FP32", [-1, -1, -1]),
    ]
    assert document["outputs"][-1] == {"name": "modality_weights", "datatype": "FP32", "shape": [-1, 3, -1, -1]}
    assert [one["name"] for one in live.get("/v2/models/night_raw").json()["outputs"]] == [
        "labels", "confidence", "gate",
    ]  # fmt: skip
    assert {one["datatype"] for one in live.get("/v2/models/four").json()["inputs"]} == {"BYTES"}
    config = live.get("/v2/models/four/config").json()
    assert [one["name"] for one in config["input"] if one.get("optional")] == ["rgb", "event"]


def test_a_batch_of_what_was_measured_is_answered_with_all_outputs(live):
    answer = infer(live, "four_raw", frame())
    assert answer.status_code == 200, answer.text
    shapes = {one["name"]: one["shape"] for one in answer.json()["outputs"]}
    assert shapes == {
        "labels": [2, 24, 32],
        "confidence": [2, 6, 8],
        "gate": [2, 6, 8],
        "modality_weights": [2, 3, 6, 8],
    }
    assert "no rgb was sent" in answer.json()["parameters"]["warnings"]


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "sentence"),
    [
        ("night_raw", frame(), (), "event is missing: lidar, thermal came; send thermal and event"),
        ("four_raw", {"thermal": frame()["thermal"]}, (), "lidar is missing: thermal came"),
        ("four_raw", {**frame(), "lidar": ("FP32", np.ones((2, 24, 32, 3), np.float32))}, (), "lidar has 3 channels"),
        (
            "four_raw",
            {**frame(), "thermal": ("UINT8", np.ones((2, 24, 32), np.uint8))},
            (),
            "thermal is of dtype uint8; send the sensor's stored numbers",
        ),
        ("night_raw", {}, ("modality_weights",), "there is no output 'modality_weights'; expected mask, labels"),
    ],
)
def test_tensors_that_do_not_fit_the_model_are_refused(live, model, inputs, outputs, sentence):
    answer = infer(live, model, inputs, outputs)
    assert 400 <= answer.status_code < 500
    assert sentence in answer.json()["error"]
