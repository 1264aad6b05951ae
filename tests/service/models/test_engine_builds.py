"""Engines built beside serving, with OpenVINO as the runtime they are built for: real builds, in real processes."""

import dataclasses
import fcntl
import json
import shutil
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from geminifusion_runtime.artifact import read_metadata, sha256_of, write_metadata
from geminifusion_runtime.backends.engine_builder import BuildOptions
from geminifusion_runtime.model import Model
from geminifusion_service.errors import ModelMemoryError
from geminifusion_service.isolation.engine_cache import CONDITIONS_NAME, EngineRequest, prepare_engine
from geminifusion_service.models import lifecycle
from geminifusion_service.setting_fields import SettingsError
from geminifusion_service.settings import Settings

openvino = pytest.importorskip("openvino")


def with_true_golden_set(directory, add_golden):
    """The artifact with golden frames whose confidence and gate are those of its graph, as verifying asks for."""
    add_golden(directory)
    path = directory / "golden.npz"
    arrays = dict(np.load(path))
    model = Model.open(directory, backend="onnxruntime", threads=1)
    outputs = [model.backend.run({name: arrays[name][one : one + 1] for name in ("rgb", "depth")}) for one in range(2)]
    for name in ("confidence", "gate"):
        arrays[name] = np.concatenate([output[name] for output in outputs])
    np.savez_compressed(path, **arrays)
    metadata = read_metadata(directory)
    files = metadata.files | {path.name: sha256_of(path)}
    write_metadata(directory, dataclasses.replace(metadata, files=files))
    return directory


@pytest.fixture
def artifact(make_artifact, add_golden, tmp_path):
    return with_true_golden_set(make_artifact(tmp_path / "tiny"), add_golden)


@pytest.fixture
def cached(tmp_path):
    return {"engine_cache": str(tmp_path / "engines"), "engine_target": "openvino", "backend": "onnxruntime"}


def entries(cached):
    return [path for path in Path(cached["engine_cache"]).iterdir() if path.name[0] != "."]


def outcome(metrics, outcome):
    return metrics.registry.get_sample_value("geminifusion_engines_total", {"name": "tiny", "outcome": outcome}) or 0


async def test_an_engine_is_built_beside_serving_and_found_by_the_next_start(artifact, cached, managing, until):
    async with managing(artifacts=(artifact,), **cached) as (manager, _, metrics):
        before = manager.registry.find("tiny")
        assert before.backend.name == "onnxruntime-cpu"
        await until(lambda: outcome(metrics, "built"), 60)
        after = manager.registry.find("tiny")
        assert after.backend.name.startswith("openvino")
        assert manager.registry.get("tiny").self_test.kind == "golden"
        await until(lambda: not manager.registry.unloading)
        served = {"name": "tiny", "version": after.metadata.version, "backend": "onnxruntime-cpu"}
        assert metrics.registry.get_sample_value("geminifusion_model_info", served) is None
    (entry,) = entries(cached)
    conditions = json.loads((entry / CONDITIONS_NAME).read_text())
    assert {"artifact", "cpu", "geminifusion", "openvino", "target"} == set(conditions)
    async with managing(artifacts=(artifact,), **cached) as (manager, _, metrics):
        await until(lambda: outcome(metrics, "found"), 60)
        assert manager.registry.find("tiny").backend.name.startswith("openvino")
    assert entries(cached) == [entry]


def test_no_request_is_lost_while_the_engine_takes_over(artifact, cached, serving, pair):
    over, seen = threading.Event(), []
    with serving(artifacts=(artifact,), **cached) as live:

        def ask():
            with httpx.Client(trust_env=False, timeout=20) as client:
                while not over.is_set():
                    seen.append(client.post(f"{live.url}/v1/segment", files=pair.files()).status_code)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for _ in range(600):
                if 'geminifusion_engines_total{name="tiny",outcome="built"} 1.0' in live.get("/metrics").text:
                    break
                over.wait(0.1)
            else:
                pytest.fail("no engine took over")
        finally:
            over.set()
            for client in clients:
                client.join(20)
    assert len(seen) > 4
    assert set(seen) == {200}


async def test_an_engine_that_cannot_be_built_is_said_and_changes_nothing(artifact, cached, managing, until, caplog):
    if shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU here")
    values = {**cached, "engine_target": "tensorrt"}
    async with managing(artifacts=(artifact,), **values) as (manager, segmenter, metrics):
        await until(lambda: outcome(metrics, "failed"), 60)
        assert manager.registry.find("tiny").backend.name == "onnxruntime-cpu"
        assert segmenter.models.problems == ()
    assert "goes on serving from onnxruntime-cpu, no engine takes over" in caplog.text


async def test_an_engine_with_other_labels_than_the_golden_set_replaces_nothing(
    make_artifact, add_golden, tmp_path, cached, managing, until, caplog
):
    wrong = add_golden(make_artifact(tmp_path / "wrong"), wrong=0.2)
    async with managing(artifacts=(wrong,), **cached) as (manager, _, metrics):
        await until(lambda: outcome(metrics, "failed"), 60)
        assert manager.registry.find("tiny").backend.name == "onnxruntime-cpu"
    assert "beyond its budget" in caplog.text
    assert entries(cached) == []


async def test_a_build_that_takes_too_long_is_ended(artifact, cached, managing, until, caplog):
    request = EngineRequest(
        artifact=artifact, cache=Path(cached["engine_cache"]), target="openvino", options=BuildOptions()
    )
    entry = prepare_engine(request).directory
    shutil.rmtree(entry)
    with (entry.parent / f".{entry.name}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another server that is building the same engine, for ever
        async with managing(artifacts=(artifact,), engine_build_s=1.0, **cached) as (_, _, metrics):
            await until(lambda: outcome(metrics, "failed"), 20)
    assert "not finished within 1 s; raise --engine-build-s" in caplog.text


async def test_no_engine_is_built_for_a_task_without_any_and_its_models_serve(
    detector_artifact, cached, managing, caplog
):
    caplog.set_level("INFO")
    async with managing(artifacts=(detector_artifact,), **cached) as (manager, segmenter, _):
        assert manager._engine_builds._wanted.empty()
        assert segmenter.ready
    assert "street@1 serves from onnxruntime-cpu: no engine is built for object-detection-3d" in caplog.text


async def test_an_engine_that_does_not_fit_takes_no_other_models_place(
    artifact, make_artifact, tmp_path, managing, monkeypatch
):
    engine = prepare_engine(
        EngineRequest(artifact=artifact, cache=tmp_path / "engines", target="openvino", options=BuildOptions())
    ).directory
    monkeypatch.setattr(lifecycle, "model_file_bytes", lambda *_: 10 * 2**20)
    other = make_artifact(tmp_path / "other", name="other")
    budget = {"model_memory_mb": 10_000, "model_eviction": "lru"}
    async with managing(artifacts=(artifact, other), backend="onnxruntime", **budget) as (manager, _, _):
        version = manager.registry.find("tiny").metadata.version
        manager.registry.get("other").memory_bytes = 9_990 * 2**20
        with pytest.raises(ModelMemoryError, match="unload a model, or raise --model-memory-mb"):
            await manager._swap_engine_in(engine, "tiny", version, "openvino")
        assert {"other", "tiny"} == {model.metadata.name for model in manager.registry}
        assert manager.registry.find("tiny").backend.name == "onnxruntime-cpu"


def test_a_damaged_entry_is_built_again_and_another_artifact_gets_its_own(
    artifact, make_artifact, add_golden, tmp_path
):
    def prepare(directory):
        return prepare_engine(
            EngineRequest(artifact=directory, cache=tmp_path / "engines", target="openvino", options=BuildOptions())
        )

    first = prepare(artifact)
    assert first.outcome == "built"
    assert prepare(artifact) == (first.directory, "found")
    (first.directory / "openvino.bin").write_bytes(b"damaged")
    assert prepare(artifact) == (first.directory, "built")
    other = with_true_golden_set(make_artifact(tmp_path / "other", version="other"), add_golden)
    assert prepare(other).directory != first.directory


def test_replicas_on_ray_refuse_a_cache(artifact):
    with pytest.raises(SettingsError, match="replicas on Ray build no engines"):
        Settings.of(artifacts=(artifact,), executor="ray", engine_cache="engines")
