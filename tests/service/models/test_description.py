"""What clients are told of a model."""

import pytest

from geminifusion_runtime.batch_size_tuning import tune_batch_size
from geminifusion_service.errors import ModelNotFoundError
from geminifusion_service.models.description import describe_model, describe_reference
from geminifusion_service.models.registry import ModelRegistry, ModelState, SelfTestResult, Status


def failed(problem="half the labels differ"):
    return SelfTestResult(kind="golden", frames=1, agreement=0.5, budget=0.999, passed=False, problem=problem)


def test_a_description_is_json_and_tells_what_a_client_needs(make_model):
    description = describe_model(make_model("tiny", "1"))
    assert description["reference"] == "tiny@1"
    assert description["classes"][1] == {"id": 1, "name": "dark far", "color": [20, 120, 20]}
    assert [modality["name"] for modality in description["modalities"]] == ["rgb", "depth"]
    assert description["size"]["max_pixels"] == 120 * 160
    assert description["batching"] is None


def test_a_description_shows_the_batches_that_were_measured(make_model):
    model = make_model("tiny", "1")
    model.batch_plan = tune_batch_size(model, most=4, most_pixels=10**9, budget_s=5)
    told = describe_model(model)["batching"]
    assert (told["most"], told["most_pixels"]) == (4, 10**9)
    assert {(one["height"], one["width"]) for one in told["measured"]} == {(48, 64), (24, 32)}
    assert all(one["batch_ms"]["1"] > 0 for one in told["measured"])


def test_a_description_tells_state_memory_self_test_and_versions(make_model):
    models = ModelRegistry([make_model("tiny", "1")])
    models.install(make_model("tiny", "2"), memory_bytes=7_000_000, self_test=failed())
    models.record_status(Status(name="tiny", version="3", state=ModelState.UNAVAILABLE, reason="model.onnx is missing"))
    described = describe_reference(models, "tiny")
    assert (described["reference"], described["state"], described["current"], described["default"]) == (
        "tiny@2", "failing", True, False,
    )  # fmt: skip
    assert described["memory_bytes"] == 7_000_000
    assert described["self_test"]["agreement"] == 0.5
    assert described["versions"] == [
        {"version": "3", "state": "unavailable", "reason": "model.onnx is missing"},
        {"version": "2", "state": "failing", "reason": "half the labels differ"},
        {"version": "1", "state": "ready", "reason": ""},
    ]


def test_what_could_not_be_loaded_is_described_with_its_reason(make_model):
    models = ModelRegistry([make_model("tiny", "1")])
    models.record_status(
        Status(name="broken", version="1", state=ModelState.UNAVAILABLE, reason="model.onnx is missing")
    )
    for reference in ("broken", "broken@1"):
        described = describe_reference(models, reference)
        assert (described["state"], described["reason"]) == ("unavailable", "model.onnx is missing")
    with pytest.raises(ModelNotFoundError):
        describe_reference(models, "broken@2")
