"""How an engine is run: buffers, parts, contexts, CUDA graphs, and memory given back. CUDA and TensorRT are stood in
for (see `cuda_stand_in.py`); what they compute is ONNX Runtime's."""

import dataclasses
import importlib.util
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from geminifusion_export.runtime_discovery import open_candidates
from geminifusion_runtime.artifact import (
    MODEL_NAME,
    EngineRequirements,
    RuntimeFile,
    ShapeRange,
    read_metadata,
    sha256_of,
    write_metadata,
)
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.selection import open_backend
from geminifusion_runtime.backends.tensorrt.backend import TensorRtBackend
from geminifusion_runtime.backends.tensorrt.execution_context import SHAPES_KEPT
from geminifusion_runtime.backends.tensorrt.requirements import TensorRtError

_SPEC = importlib.util.spec_from_file_location("cuda_stand_in", Path(__file__).with_name("cuda_stand_in.py"))
stand_in = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(stand_in)

PROFILES = (
    ShapeRange(minimum=(1, 16, 16), optimum=(1, 48, 64), maximum=(1, 160, 160)),
    ShapeRange(minimum=(2, 16, 16), optimum=(4, 48, 64), maximum=(4, 64, 64)),
)


@pytest.fixture
def cuda(monkeypatch):
    runtime = stand_in.CudaStandIn()
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = runtime
    package = types.ModuleType("cuda")
    package.bindings = bindings
    for name, module in (("cuda", package), ("cuda.bindings", bindings), ("cuda.bindings.runtime", runtime)):
        monkeypatch.setitem(sys.modules, name, module)
    return runtime


@pytest.fixture
def tensorrt(monkeypatch, cuda):
    module = stand_in.TensorRtStandIn(cuda, len(PROFILES))
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def engine_artifact(make_artifact, tmp_path):
    directory = make_artifact(tmp_path / "with-engine")
    (directory / "engine.plan").write_text(str(directory / MODEL_NAME))
    metadata = read_metadata(directory)
    write_metadata(
        directory,
        dataclasses.replace(
            metadata,
            files={**metadata.files, "engine.plan": sha256_of(directory / "engine.plan")},
            runtimes=(RuntimeFile(runtime="tensorrt", file="engine.plan", precision="float32"),),
            engine=EngineRequirements(tensorrt_version="11.4.0.106", compute_capability="8.9", profiles=PROFILES),
        ),
    )
    return directory


@pytest.fixture
def backend(engine_artifact, tensorrt):
    return TensorRtBackend(engine_artifact, read_metadata(engine_artifact))


def _feeds(batch, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "rgb": rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8),
        "depth": rng.uniform(0, 4, (batch, height, width)).astype(np.float32),
    }


def _assert_answers(found, artifact, feeds):
    expected = OnnxRuntimeBackend(artifact / MODEL_NAME, threads=1, retained_pixels=48 * 64).run(feeds)
    for name in ("labels", "confidence", "gate"):
        got = found[name]
        np.testing.assert_array_equal(got, expected[name], err_msg=name)
        assert got.dtype == expected[name].dtype


def test_every_shape_and_batch_answers_as_the_graph_itself_in_any_order(backend, engine_artifact):
    shapes = [(1, 48, 64), (4, 48, 64), (9, 33, 61), (1, 160, 16), (2, 160, 160), (1, 48, 64), (4, 48, 64), (9, 33, 61)]
    for seed, shape in enumerate(shapes * 2):
        feeds = _feeds(*shape, seed=seed)
        _assert_answers(backend.run(feeds), engine_artifact, feeds)


def test_shape_that_repeats_is_replayed_from_a_graph_with_the_new_values(backend, tensorrt, cuda, engine_artifact):
    for seed in range(5):
        feeds = _feeds(1, 48, 64, seed)
        _assert_answers(backend.run(feeds), engine_artifact, feeds)
    assert cuda.launches == 4
    assert tensorrt.engine.executions == 2  # the first run and the recording


def test_engine_that_cannot_be_recorded_runs_as_before(backend, tensorrt, cuda, engine_artifact):
    tensorrt.engine.recordable = False
    for seed in range(4):
        feeds = _feeds(1, 48, 64, seed)
        _assert_answers(backend.run(feeds), engine_artifact, feeds)
    assert cuda.launches == 0
    assert tensorrt.engine.executions == 5  # one attempt to record, and never again


def test_answers_belong_to_the_caller(backend):
    first = backend.run(_feeds(1, 48, 64, 0))
    kept = first["labels"].copy()
    backend.run(_feeds(1, 48, 64, 1))
    np.testing.assert_array_equal(first["labels"], kept)


def test_contexts_are_bounded_and_everything_is_given_back(backend, tensorrt, cuda):
    for side in range(20, 40):
        for _ in range(2):
            backend.run(_feeds(1, side, side))
    graphs = [thing for thing in cuda.alive.values() if isinstance(thing, list)]
    assert len(graphs) <= SHAPES_KEPT
    backend.close()
    assert not cuda.alive


def test_callers_at_the_same_time_have_contexts_of_their_own(backend, tensorrt, cuda, engine_artifact):
    feeds = [_feeds(1, 48, 64, seed) for seed in range(16)]
    with ThreadPoolExecutor(1) as pool:  # recording is per thread in CUDA, not in the stand-in
        answers = list(pool.map(backend.run, feeds))
    for one, answer in zip(feeds, answers, strict=True):
        _assert_answers(answer, engine_artifact, one)
    assert tensorrt.engine.contexts == 1  # it is kept for the next caller, whatever its thread


def test_size_outside_the_profiles_is_refused_before_anything_is_enqueued(backend, tensorrt):
    with pytest.raises(TensorRtError, match=r"2 frame\(s\) of 200x64 .* height 16 to 160"):
        backend.run(_feeds(2, 200, 64))
    assert tensorrt.engine.executions == 0
    assert "height 16 to 160" in backend.size_problem(200, 64)
    assert backend.size_problem(160, 64) is None


def test_input_of_another_type_or_missing_is_refused(backend):
    feeds = _feeds(1, 48, 64)
    with pytest.raises(ValueError, match="depth is float64"):
        backend.run({**feeds, "depth": feeds["depth"].astype(np.float64)})
    with pytest.raises(ValueError, match="depth is missing; feed rgb, depth"):
        backend.run({"rgb": feeds["rgb"]})


def test_gpu_without_room_is_refused_in_words_and_keeps_nothing(backend, cuda):
    cuda.memory_bytes = 5000
    with pytest.raises(TensorRtError, match="cudaErrorMemoryAllocation"):
        backend.run(_feeds(1, 48, 64))
    assert not cuda.alive


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tensorrt_version": "10.13.0.35"}, r"built with TensorRT 10\.13\.0\.35, 11\.4\.0\.106 is installed"),
        ({"compute_capability": "9.0"}, r"compute capability exactly 9\.0, this GPU has 8\.9"),
        ({"profiles": PROFILES[:1]}, "the engine has 2 profiles, the metadata 1"),
    ],
)
def test_engine_that_does_not_fit_is_refused(engine_artifact, tensorrt, change, words):
    metadata = read_metadata(engine_artifact)
    changed = dataclasses.replace(metadata, engine=dataclasses.replace(metadata.engine, **change))
    with pytest.raises(TensorRtError, match=words):
        TensorRtBackend(engine_artifact, changed)


def test_engine_that_tensorrt_refuses_is_refused_with_its_reason(engine_artifact, tensorrt):
    (engine_artifact / "engine.plan").write_bytes(b"nonsense")
    with pytest.raises(TensorRtError, match="magic tag does not match"):
        TensorRtBackend(engine_artifact, read_metadata(engine_artifact))


def test_machine_without_a_gpu_is_refused(engine_artifact, tensorrt, cuda):
    cuda.num_devices = 0
    with pytest.raises(TensorRtError, match="there is no NVIDIA GPU 0 to use here"):
        TensorRtBackend(engine_artifact, read_metadata(engine_artifact))


def test_verification_opens_the_engine_as_serving_does(engine_artifact, tensorrt):
    metadata = read_metadata(engine_artifact)
    served = open_backend(engine_artifact, metadata, threads=1).backend
    onnx, verified = open_candidates(engine_artifact, metadata, 1)
    assert isinstance(served, TensorRtBackend)
    assert type(verified.backend) is type(served)
    assert verified.label == "tensorrt float32"
    assert onnx.label == "onnxruntime-cpu float32"
    feeds = _feeds(3, 40, 50)
    _assert_answers(verified.backend.run(feeds), engine_artifact, feeds)
