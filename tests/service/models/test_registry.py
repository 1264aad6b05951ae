"""Which model a request means, and how long a model stays."""

import pytest

from geminifusion_service.errors import ModelNotFoundError, NotReadyError
from geminifusion_service.models.registry import (
    ModelRegistry,
    ModelState,
    SelfTestResult,
    Status,
    version_key,
)


def failed(problem="half the labels differ"):
    return SelfTestResult(kind="golden", frames=1, agreement=0.5, budget=0.999, passed=False, problem=problem)


def test_versions_are_ordered_as_people_do():
    mixed = ["10", "2-rc1", "20260101", "1.10", "2", "0.9", "1.2", "1"]
    assert sorted(mixed, key=version_key) == ["0.9", "1", "1.2", "1.10", "2", "2-rc1", "10", "20260101"]


def test_a_bare_name_means_the_current_version_and_a_reference_just_that_one(make_model):
    models = ModelRegistry([make_model("tiny", "1"), make_model("tiny", "2")])
    assert models.find("tiny").reference == "tiny@2"
    assert models.find("tiny@1").reference == "tiny@1"


def test_a_registry_finds_by_reference_by_name_and_by_default(make_model):
    first, newer = make_model("tiny", "1"), make_model("tiny", "2")
    models = ModelRegistry([first, newer])
    assert models.find(None) is first
    assert models.find("tiny@1") is first
    assert models.find("tiny") is newer
    with pytest.raises(ModelNotFoundError, match="tiny@1, tiny@2"):
        models.find("huge")


def test_two_artifacts_of_one_name_and_version_are_refused(make_model):
    model = make_model("tiny", "1")
    with pytest.raises(ValueError, match="tiny@1"):
        ModelRegistry([model, model])


def test_a_version_can_be_installed_without_taking_over_the_name(make_model):
    models = ModelRegistry([make_model("tiny", "2")])
    models.install(make_model("tiny", "1"), current=False)
    assert models.find("tiny").reference == "tiny@2"
    assert models.find("tiny@1").reference == "tiny@1"


def test_the_default_keeps_its_name_through_versions_and_never_becomes_another_model(make_model):
    models = ModelRegistry([make_model("tiny", "1"), make_model("other", "1")])
    models.install(make_model("tiny", "2"))
    models.retire("tiny@1")
    assert models.find(None).reference == "tiny@2"
    models.retire("tiny@2")
    with pytest.raises(NotReadyError, match="default model tiny@1 is not loaded"):
        models.find(None)
    assert models.problems == ("the default model tiny@1 is not loaded",)


def test_the_default_may_be_named_before_it_is_there(make_model):
    models = ModelRegistry(default="other")
    models.install(make_model("tiny", "1"))
    assert models.problems == ("the default model other is not loaded",)
    models.install(make_model("other", "3"))
    assert models.find(None).reference == "other@3"
    assert [model.reference for model in models] == ["other@3", "tiny@1"], "the default comes first"


def test_an_empty_registry_is_a_problem_and_says_so():
    models = ModelRegistry()
    assert models.problems == ("no model is loaded",)
    with pytest.raises(NotReadyError, match="none yet"):
        models.find(None)


def test_a_retired_version_hands_its_name_to_the_newest_one_left(make_model):
    models = ModelRegistry([make_model("tiny", version) for version in ("1", "9", "10")])
    models.retire("tiny@10")
    assert models.find("tiny").reference == "tiny@9"
    with pytest.raises(ModelNotFoundError, match="tiny@1, tiny@9"):
        models.find("tiny@10")


def test_a_retired_model_is_drained_only_when_its_last_lease_ends(make_model):
    models = ModelRegistry([make_model("tiny", "1")])
    with models.lease("tiny"), models.lease(None):
        slot = models.retire("tiny@1")
        assert not slot.drained.is_set()
        assert slot.state is ModelState.UNLOADING
        assert models.statuses() == [Status(name="tiny", version="1", state=ModelState.UNLOADING)]
    assert slot.drained.is_set()
    models.forget(slot)
    assert [status.state for status in models.statuses()] == [ModelState.UNAVAILABLE]


def test_an_idle_model_is_drained_as_soon_as_it_is_retired(make_model):
    models = ModelRegistry([make_model("tiny", "1")])
    assert models.retire("tiny@1").drained.is_set()


def test_a_lease_ends_with_an_error_too(make_model):
    models = ModelRegistry([make_model("tiny", "1")])
    slot = models.get("tiny")
    with pytest.raises(RuntimeError), models.lease("tiny"):
        raise RuntimeError
    assert slot.leases == 0


def test_the_same_reference_can_be_replaced_while_it_is_used(make_model):
    old, new = make_model("tiny", "1"), make_model("tiny", "1")
    models = ModelRegistry([old])
    with models.lease("tiny") as leased:
        replaced = models.install(new)
        assert leased is old
        assert models.find("tiny") is new
        assert replaced is not None
        assert not replaced.drained.is_set()
    assert replaced.drained.is_set()
    assert old.serial != new.serial, "or their requests would share batches"


def test_a_lease_counts_as_use_and_holding_does_not(make_model):
    models = ModelRegistry([make_model("tiny", "1")])
    slot = models.get("tiny")
    before = slot.last_used
    with models.hold(slot):
        assert slot.leases == 1
    assert slot.last_used == before
    with models.lease("tiny"):
        assert slot.last_used > before


def test_a_failing_self_test_of_a_current_version_is_a_problem_and_of_an_old_one_is_not(make_model):
    models = ModelRegistry([make_model("tiny", "1"), make_model("tiny", "2"), make_model("other", "1")])
    models.get("tiny@1").self_test = failed()
    assert models.problems == ()
    models.get("other").self_test = failed()
    assert models.problems == ("other@1: half the labels differ",)
