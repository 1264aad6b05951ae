"""Models coming, going and being replaced, around a real segmenter; V13."""

import asyncio
import logging
import os
import shutil

import pytest
from grpc_health.v1 import health_pb2

from geminifusion_runtime.artifact import ArtifactError
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.errors import ModelLoadError, ModelMemoryError, ModelNotFoundError, NotReadyError
from geminifusion_service.models import lifecycle
from geminifusion_service.models import self_test_schedule as self_test_schedule
from geminifusion_service.models.description import describe_reference
from geminifusion_service.models.registry import ModelState, Status
from geminifusion_service.models.repository_watch import RepositoryWatch
from geminifusion_service.request import TaskRequest
from geminifusion_service.transport.grpc.health import Health

POLL = {"model_poll_s": 0.02, "model_settle_s": 0.1}


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "models"
    root.mkdir()
    return root


@pytest.fixture
def publish(repository, tmp_path, make_artifact, add_golden):
    """`publish("tiny", "2")`: a whole version, put into the repository by a rename."""

    def put(name="tiny", version="1", *, wrong=None, artifact_version=None):
        staged = make_artifact(tmp_path / "staged", name=name, version=artifact_version or version)
        if wrong is not None:
            add_golden(staged, wrong=wrong)
        (repository / name).mkdir(exist_ok=True)
        return staged.rename(repository / name / version)

    return put


def states(manager, name="tiny"):
    return {status.version: status.state.value for status in manager.registry.statuses(name)}


def a_request(pair, model=None):
    return TaskRequest(parts=pair.files(), options=SegmentOptions(model=model))


async def test_the_newest_version_of_every_name_is_loaded_at_the_start(publish, repository, managing, pair):
    publish(version="2")
    publish(version="10")
    publish("other")
    async with managing(model_repository=str(repository)) as (manager, segmenter, _):
        assert manager.registry.references == {"tiny@10", "other@1"}
        assert segmenter.ready
        assert (await segmenter.segment(a_request(pair, "tiny"))).model == "tiny@10"
        assert {str(status.state.value) for status in await manager.index()} == {"ready", "unavailable"}
        assert [status.reference for status in await manager.index()] == ["other@1", "tiny@10", "tiny@2"]


async def test_where_the_default_model_is_broken_no_other_answers_for_it(publish, repository, managing, pair):
    (publish("kitchen") / "model.onnx").write_bytes(b"")
    publish("street")
    async with managing(model_repository=str(repository)) as (manager, segmenter, _):
        assert manager.registry.references == {"street@1"}
        assert segmenter.models.problems == ("the default model kitchen is not loaded",)
        with pytest.raises(NotReadyError):
            await segmenter.segment(a_request(pair))
        assert (await segmenter.segment(a_request(pair, "street"))).model == "street@1"


async def test_as_many_versions_are_kept_as_asked_for(publish, repository, managing):
    for version in ("1", "2", "3"):
        publish(version=version)
    async with managing(model_repository=str(repository), model_versions=2) as (manager, _, _):
        assert manager.registry.references == {"tiny@2", "tiny@3"}
        assert manager.registry.find("tiny").reference == "tiny@3"


async def test_a_numbered_directory_is_the_version_clients_ask_for(publish, repository, managing, pair):
    publish(version="7", artifact_version="2026.11")
    async with managing(model_repository=str(repository)) as (_, segmenter, _):
        assert (await segmenter.segment(a_request(pair, "tiny@7"))).model == "tiny@7"


async def test_artifacts_and_a_repository_go_together_and_the_first_artifact_is_the_default(
    publish, repository, managing, tiny_artifact
):
    publish("other")
    async with managing(artifacts=(tiny_artifact,), model_repository=str(repository)) as (manager, _, _):
        assert manager.registry.references == {"tiny@1", "other@1"}
        assert manager.registry.find(None).reference == "tiny@1"
    async with managing(artifacts=(tiny_artifact,), model_repository=str(repository), default_model="other") as (
        manager,
        _,
        _,
    ):
        assert manager.registry.find(None).reference == "other@1"


async def test_a_new_version_takes_over_and_the_old_one_gives_its_memory_back(
    publish, repository, managing, until, monkeypatch
):
    closed = []
    monkeypatch.setattr(lifecycle, "unload_model", lambda model, timeout: closed.append(model.reference))
    publish(version="1")
    async with managing(model_repository=str(repository), **POLL) as (manager, _, metrics):
        publish(version="2")
        await until(lambda: manager.registry.find("tiny").reference == "tiny@2")
        await until(lambda: closed)
        assert closed == ["tiny@1"]
        await until(lambda: states(manager) == {"1": "unavailable", "2": "ready"})
        text = metrics.text().decode()
        assert 'geminifusion_model_info{backend="onnxruntime-cpu",name="tiny",version="2"} 1.0' in text
        assert (
            'version="1"' not in text.replace("geminifusion_self_test_runs", "\n#").split("geminifusion_model_ready")[1]
        )


async def test_a_request_keeps_its_version_until_it_is_answered(publish, repository, managing, until):
    publish(version="1")
    async with managing(model_repository=str(repository), **POLL) as (manager, _, _):
        with manager.registry.lease("tiny") as model:
            publish(version="2")
            await until(lambda: manager.registry.find("tiny").reference == "tiny@2")
            await asyncio.sleep(0.1)
            assert states(manager)["1"] == "unloading"
            model.warm_up()
        await until(lambda: states(manager)["1"] == "unavailable")
        with pytest.raises(RuntimeError, match="unloaded"):
            model.warm_up()


async def test_a_version_that_is_still_being_copied_is_waited_for_without_a_word(
    publish, repository, managing, until, tmp_path, make_artifact, caplog
):
    publish(version="1")
    whole = make_artifact(tmp_path / "whole", version="2")
    caplog.set_level(logging.WARNING)
    async with managing(model_repository=str(repository), **POLL | {"model_settle_s": 60}) as (manager, _, _):
        slow = repository / "tiny" / "2"
        slow.mkdir()
        shutil.copy(whole / "metadata.json", slow)
        content = (whole / "model.onnx").read_bytes()
        for part in (content[:100], content[100:]):
            await asyncio.sleep(0.1)
            with (slow / "model.onnx").open("ab") as stream:
                stream.write(part)
        await until(lambda: manager.registry.find("tiny").reference == "tiny@2")
    assert [record.message for record in caplog.records if "golden" not in record.message] == []


@pytest.mark.parametrize("damage", ["model.onnx", "metadata.json"])
async def test_a_damaged_version_is_reported_once_and_the_old_one_goes_on(
    publish, repository, managing, until, caplog, pair, damage
):
    publish(version="1")
    async with managing(model_repository=str(repository), **POLL) as (manager, segmenter, metrics):
        broken = publish(version="2")
        (broken / damage).write_bytes(b"{")
        await until(lambda: "tiny@2 is not served" in caplog.text)
        await asyncio.sleep(0.12)
        assert caplog.text.count("tiny@2 is not served") == 1
        assert states(manager) == {"1": "ready", "2": "unavailable"}
        assert damage in describe_reference(manager.registry, "tiny@2")["reason"]
        assert 'geminifusion_model_loads_total{name="tiny",outcome="failed"}' in metrics.text().decode()
        assert segmenter.ready
        assert (await segmenter.segment(a_request(pair))).model == "tiny@1"
        shutil.rmtree(broken)
        publish(version="2")
        await until(lambda: manager.registry.find("tiny").reference == "tiny@2")


async def test_a_broken_newest_version_at_the_start_leaves_the_one_before(publish, repository, managing):
    publish(version="1")
    (publish(version="2") / "model.onnx").write_bytes(b"")
    async with managing(model_repository=str(repository)) as (manager, _, _):
        assert states(manager) == {"1": "ready", "2": "unavailable"}


BAD_ENTRIES = {
    "fifo": os.mkfifo,
    "nested": lambda path: path.write_text("[" * 200_000),
    "digits": lambda path: path.write_text("9" * 5_000),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path),
    "folder": lambda path: path.mkdir(),
    "large": lambda path: path.write_bytes(bytes(2**21)),
}


@pytest.mark.parametrize("bad", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
async def test_one_bad_entry_stops_neither_the_others_nor_the_start_nor_the_end(
    publish, repository, managing, until, bad, caplog
):
    publish(version="1")
    for directory in (repository / "aaa" / "1", repository / "tiny" / "9"):
        directory.mkdir(parents=True)
        bad(directory / "metadata.json")
    async with managing(model_repository=str(repository), default_model="tiny", **POLL) as (manager, _, _):
        assert states(manager) == {"1": "ready", "9": "unavailable"}
        publish(version="2")
        await until(lambda: manager.registry.find("tiny").reference == "tiny@2")
        index = {status.reference: status.state.value for status in await manager.index()}
        assert index["aaa@1"] == index["tiny@9"] == "unavailable"
        with pytest.raises(ModelLoadError, match="aaa"):
            await manager.load("aaa")
    assert "Traceback" not in caplog.text


async def test_an_error_of_one_name_leaves_the_others_followed(
    publish, repository, managing, until, monkeypatch, caplog
):
    publish("aaa")
    publish(version="1")
    async with managing(model_repository=str(repository), default_model="tiny", **POLL) as (manager, _, _):
        sync_name = RepositoryWatch._sync_name

        async def failing(watch, versions, **options):
            if versions[0].name == "aaa":
                raise MemoryError
            await sync_name(watch, versions, **options)

        monkeypatch.setattr(RepositoryWatch, "_sync_name", failing)
        publish(version="2")
        await until(lambda: manager.registry.find("tiny").reference == "tiny@2")
        assert "aaa could not be brought up to date" in caplog.text


async def test_a_removed_version_hands_over_to_the_one_before_it(publish, repository, managing, until):
    publish("other")
    publish(version="1")
    newest = publish(version="2")
    async with managing(model_repository=str(repository), **POLL) as (manager, _, _):
        assert manager.registry.references == {"tiny@2", "other@1"}
        shutil.rmtree(newest)
        await until(lambda: manager.registry.references == {"tiny@1", "other@1"})
        shutil.rmtree(repository / "tiny")
        await until(lambda: manager.registry.references == {"other@1"})


@pytest.mark.parametrize("how", ["gone", "empty"])
async def test_a_vanished_repository_removes_nothing_and_may_come_back(
    publish, repository, managing, until, caplog, pair, how
):
    publish(version="1")
    async with managing(model_repository=str(repository), **POLL) as (manager, segmenter, metrics):
        away = repository.rename(repository.with_name("unmounted"))
        if how == "empty":
            repository.mkdir()
        await until(lambda: "geminifusion_repository_reachable 0.0" in metrics.text().decode())
        await asyncio.sleep(0.12)
        assert caplog.text.count("go on serving") == 1
        assert (await segmenter.segment(a_request(pair))).model == "tiny@1"
        if how == "empty":
            repository.rmdir()
        away.rename(repository)
        publish(version="2")
        await until(lambda: manager.registry.find("tiny").reference == "tiny@2")


async def test_a_directory_that_is_missed_once_is_not_removed(publish, repository, managing):
    publish("other")
    version = publish(version="1")
    async with managing(model_repository=str(repository), model_poll_s=1000) as (manager, _, _):
        watch = manager._watch
        away = version.rename(repository / "away")
        await watch.sync()
        assert "tiny@1" in manager.registry.references
        away.rename(version)
        await watch.sync()
        version.rename(away)
        await watch.sync()
        assert "tiny@1" in manager.registry.references, "once again is not twice in a row"
        await watch.sync()
        assert "tiny@1" not in manager.registry.references


async def test_the_same_version_with_other_metadata_is_loaded_again_and_touching_it_is_not_enough(
    publish, repository, managing, make_artifact
):
    directory = publish(version="1")
    async with managing(model_repository=str(repository), model_poll_s=1000) as (manager, _, _):
        before = manager.registry.find("tiny").serial
        (directory / "model.onnx").touch()
        await manager.load("tiny")
        assert manager.registry.find("tiny").serial == before
        make_artifact(directory, depth_optional=True)
        await manager.load("tiny")
        assert manager.registry.find("tiny").serial != before
        assert manager.registry.find("tiny").metadata.modalities[1].optional


async def test_damage_done_to_a_loaded_version_does_not_reach_it(publish, repository, managing, pair):
    directory = publish(version="1")
    async with managing(model_repository=str(repository), model_poll_s=1000) as (manager, segmenter, _):
        (directory / "metadata.json").write_text("{")
        (directory / "model.onnx").unlink()
        await manager._watch.sync()
        assert (await segmenter.segment(a_request(pair))).model == "tiny@1"


async def test_what_is_unloaded_by_request_stays_so_until_it_is_asked_for_or_new(
    publish, repository, managing, until, pair
):
    publish("other")
    publish(version="1")
    async with managing(model_repository=str(repository), default_model="other", **POLL) as (manager, segmenter, _):
        statuses = await manager.unload("tiny")
        assert [(status.version, status.state) for status in statuses] == [("1", ModelState.UNAVAILABLE)]
        await asyncio.sleep(0.1)
        with pytest.raises(ModelNotFoundError):
            await segmenter.segment(a_request(pair, "tiny"))
        await manager.load("tiny")
        assert (await segmenter.segment(a_request(pair, "tiny"))).model == "tiny@1"
        await manager.unload("tiny@1")
        publish(version="2")
        await until(lambda: "tiny@2" in manager.registry.references)
        with pytest.raises(ModelNotFoundError, match="loaded: other@1, tiny@2"):
            await manager.unload("tiny@1")


async def test_an_old_version_can_be_brought_back_without_a_gap(publish, repository, managing, pair):
    publish(version="1")
    publish(version="2")
    async with managing(model_repository=str(repository), model_poll_s=1000) as (manager, segmenter, _):
        await manager.load("tiny@1")
        assert (await segmenter.segment(a_request(pair, "tiny"))).model == "tiny@2"
        assert (await segmenter.segment(a_request(pair, "tiny@1"))).model == "tiny@1"
        await manager._watch.sync()
        assert manager.registry.references == {"tiny@1", "tiny@2"}, "it was asked for, so it stays"
        await manager.unload("tiny@2")
        assert (await segmenter.segment(a_request(pair, "tiny"))).model == "tiny@1"


async def test_under_explicit_control_nothing_is_loaded_unasked(publish, repository, managing, pair):
    publish(version="1")
    async with managing(model_repository=str(repository), model_control="explicit", **POLL) as (manager, segmenter, _):
        await asyncio.sleep(0.1)
        assert manager.registry.references == set()
        assert not segmenter.ready
        await manager.load("tiny")
        assert segmenter.ready
        assert (await segmenter.segment(a_request(pair))).model == "tiny@1"


async def test_an_artifact_can_be_unloaded_and_loaded_again(managing, tiny_artifact):
    async with managing(artifacts=(tiny_artifact,)) as (manager, segmenter, _):
        await manager.unload("tiny")
        assert not segmenter.ready
        await manager.load("tiny")
        assert segmenter.ready
        with pytest.raises(ModelNotFoundError, match="there is: tiny@1"):
            await manager.load("huge")


async def test_a_load_that_fails_says_why_and_touches_nothing(publish, repository, managing, pair):
    publish(version="1")
    async with managing(model_repository=str(repository), model_poll_s=1000) as (manager, segmenter, _):
        (publish(version="2") / "model.onnx").unlink()
        with pytest.raises(ModelLoadError, match=r"model\.onnx is missing"):
            await manager.load("tiny")
        assert (await segmenter.segment(a_request(pair))).model == "tiny@1"


async def test_a_model_that_does_not_fit_is_refused_with_the_numbers(publish, repository, managing, monkeypatch):
    monkeypatch.setattr(lifecycle, "model_file_bytes", lambda *_: 10 * 2**20)
    publish(version="1")
    async with managing(model_repository=str(repository), model_memory_mb=80, model_control="explicit") as (
        manager,
        _,
        metrics,
    ):
        await manager.load("tiny")
        manager.registry.get("tiny").memory_bytes = 76 * 2**20
        publish("other")
        with pytest.raises(ModelMemoryError, match=r"other@1 would take about \d+ MB, and 76 of 80 MB are taken"):
            await manager.load("other")
        assert manager.registry.references == {"tiny@1"}
        assert 'geminifusion_model_loads_total{name="other",outcome="refused"} 1.0' in metrics.text().decode()


async def test_the_least_recently_used_makes_room_but_never_the_default(publish, repository, managing, monkeypatch):
    monkeypatch.setattr(lifecycle, "model_file_bytes", lambda *_: 10 * 2**20)
    for name in ("default", "used", "idle", "new"):
        publish(name)
    async with managing(
        model_repository=str(repository),
        model_memory_mb=10_000,
        model_eviction="lru",
        model_control="explicit",
        default_model="default",
    ) as (manager, _, _):
        for name in ("default", "used", "idle"):
            await manager.load(name)
            manager.registry.get(name).memory_bytes = 3320 * 2**20
        with manager.registry.lease("used"):
            pass
        await manager.load("new")
        assert manager.registry.references == {"default@1", "used@1", "new@1"}
        assert "made room for new@1" in describe_reference(manager.registry, "idle")["reason"]
        await manager._watch.sync()
        assert "idle@1" not in manager.registry.references, "it comes back when it is asked for"


async def test_a_version_that_fails_its_self_test_replaces_nothing(publish, repository, managing, until, caplog):
    publish(version="1", wrong=0)
    async with managing(model_repository=str(repository), **POLL) as (manager, segmenter, _):
        publish(version="2", wrong=0.2)
        await until(lambda: "tiny@2 is not served" in caplog.text)
        assert states(manager) == {"1": "ready", "2": "unavailable"}
        assert "of the labels agree with torch's" in describe_reference(manager.registry, "tiny@2")["reason"]
        assert segmenter.ready


async def test_a_model_whose_self_test_fails_is_loaded_but_the_service_is_not_ready(
    tmp_path, make_artifact, add_golden, managing
):
    directory = add_golden(make_artifact(tmp_path / "drifted"), wrong=0.2)
    async with managing(artifacts=(directory,)) as (manager, segmenter, metrics):
        assert not segmenter.ready
        assert "of the labels agree" in segmenter.models.problems[0]
        text = metrics.text().decode()
        assert 'geminifusion_model_ready{name="tiny",version="1"} 0.0' in text
        assert 'geminifusion_self_test_runs_total{name="tiny",outcome="failed",version="1"} 1.0' in text
        assert describe_reference(manager.registry, "tiny")["self_test"]["passed"] is False


async def test_a_model_is_healthy_while_another_is_not(tmp_path, make_artifact, add_golden, managing):
    good = make_artifact(tmp_path / "good", name="good")
    drifted = add_golden(make_artifact(tmp_path / "drifted"), wrong=0.2)
    async with managing(artifacts=(good, drifted)) as (manager, segmenter, _):
        health = Health(segmenter, ["geminifusion.v1.Segmentation"])

        async def status(service):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service), None)
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

        assert await status("model/good") == "SERVING"
        assert await status("model/tiny@1") == "NOT_SERVING"
        assert await status("") == "NOT_SERVING"
        manager.registry.record_status(Status(name="coming", version="1", state=ModelState.LOADING))
        assert await status("model/coming") == await status("model/coming@1") == "NOT_SERVING"
        segmenter.mark_draining()
        assert await status("model/good") == "NOT_SERVING"


async def test_an_unloaded_model_is_not_healthy_and_still_known(tmp_path, make_artifact, managing, until):
    folders = [make_artifact(tmp_path / name, name=name) for name in ("stays", "goes")]
    async with managing(artifacts=tuple(folders)) as (manager, segmenter, _):
        health = Health(segmenter, [])
        told = []

        async def watch():
            async for answer in health.Watch(health_pb2.HealthCheckRequest(service="model/goes"), None):
                told.append(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

        watching = asyncio.create_task(watch())
        await until(lambda: told == ["SERVING"])
        await manager.unload("goes")
        await until(lambda: told == ["SERVING", "NOT_SERVING"])
        watching.cancel()


async def test_readiness_goes_when_labels_drift_and_comes_back_with_them(
    tmp_path, make_artifact, add_golden, managing, until, caplog, monkeypatch
):
    monkeypatch.setattr(self_test_schedule, "_RETEST_S", 0.02)
    directory = add_golden(make_artifact(tmp_path / "golden"))
    async with managing(artifacts=(directory,), self_test_interval_s=0.05) as (manager, segmenter, metrics):
        assert "geminifusion_ready 1.0" in metrics.text().decode()
        backend = manager.registry.find("tiny").backend
        run = backend.run
        monkeypatch.setattr(backend, "run", lambda inputs: _drifted(run(inputs)))
        await until(lambda: not segmenter.ready)
        assert "is not ready any more" in caplog.text
        assert "geminifusion_ready 0.0" in metrics.text().decode()
        monkeypatch.undo()
        await until(lambda: segmenter.ready)
        assert "passes its self-test again" in caplog.text
        assert "geminifusion_ready 1.0" in metrics.text().decode()
        assert 'geminifusion_self_test_agreement{name="tiny",version="1"} 1.0' in metrics.text().decode()


def _drifted(outputs):
    outputs["labels"][...] ^= 1
    return outputs


async def test_one_wrong_self_test_alone_changes_nothing(tmp_path, make_artifact, add_golden, managing, monkeypatch):
    directory = add_golden(make_artifact(tmp_path / "golden"))
    async with managing(artifacts=(directory,), self_test_interval_s=1000) as (manager, segmenter, _):
        backend = manager.registry.find("tiny").backend
        run, runs = backend.run, []

        def once_wrong(inputs):
            runs.append(1)
            return _drifted(run(inputs)) if len(runs) == 1 else run(inputs)

        monkeypatch.setattr(backend, "run", once_wrong)
        await manager._self_tests.test(manager.registry.get("tiny"))
        assert len(runs) == 4, "two frames, twice"
        assert segmenter.ready


async def test_self_tests_can_be_switched_off(tmp_path, make_artifact, add_golden, managing):
    directory = add_golden(make_artifact(tmp_path / "drifted"), wrong=0.2)
    async with managing(artifacts=(directory,), self_test_interval_s=0) as (manager, segmenter, _):
        assert segmenter.ready
        assert describe_reference(manager.registry, "tiny")["self_test"] is None


async def test_an_artifact_without_golden_frames_is_held_to_what_it_first_answered(
    tiny_artifact, managing, monkeypatch, caplog
):
    async with managing(artifacts=(tiny_artifact,), self_test_interval_s=1000) as (manager, segmenter, _):
        assert "tiny@1 has no golden frames" in caplog.text
        slot = manager.registry.get("tiny")
        assert (slot.self_test.kind, slot.self_test.passed) == ("self", True)
        backend = slot.model.backend
        run = backend.run

        def one_pixel_off(inputs):
            outputs = run(inputs)
            outputs["labels"][0, 0, 0] ^= 1
            return outputs

        monkeypatch.setattr(backend, "run", one_pixel_off)
        await manager._self_tests.test(slot)
        assert not segmenter.ready


async def test_sizes_to_warm_up_are_run_before_the_service_is_ready(tiny_artifact, managing, caplog):
    async with managing(artifacts=(tiny_artifact,), warm_up_sizes="32x32,240x320,8x8") as (_, segmenter, _):
        assert segmenter.ready
        assert "tiny@1 is not warmed up at 8x8" in caplog.text


async def test_a_damaged_artifact_or_a_repository_that_cannot_serve_ends_the_start(
    tmp_path, make_artifact, managing, repository
):
    damaged = make_artifact(tmp_path / "damaged")
    (damaged / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="SHA-256"):
        async with managing(artifacts=(damaged,)):
            pass
    with pytest.raises(RuntimeError, match="it holds none"):
        async with managing(model_repository=str(repository), model_poll_s=0):
            pass
    with pytest.raises(RuntimeError, match="cannot be read"):
        async with managing(model_repository=str(tmp_path / "nowhere")):
            pass
    make_artifact(repository / "tiny")
    with pytest.raises(RuntimeError, match="is an artifact itself"):
        async with managing(model_repository=str(repository)):
            pass


async def test_two_artifacts_of_one_reference_are_refused(tiny_artifact, tmp_path, make_artifact, managing):
    with pytest.raises(ValueError, match="both tiny@1"):
        async with managing(artifacts=(tiny_artifact, make_artifact(tmp_path / "again"))):
            pass


async def test_an_empty_repository_that_is_watched_is_waited_for(publish, repository, managing, until):
    async with managing(model_repository=str(repository), **POLL) as (_, segmenter, _):
        assert not segmenter.ready
        publish(version="1")
        await until(lambda: segmenter.ready)
