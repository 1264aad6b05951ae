"""What a TensorRT engine is refused for before CUDA is needed. Running one needs a GPU."""

import dataclasses
import importlib.util

import pytest

from geminifusion_runtime.artifact import (
    ArtifactError,
    EngineRequirements,
    RuntimeFile,
    ShapeRange,
    open_artifact,
    read_metadata,
    sha256_of,
    write_metadata,
)
from geminifusion_runtime.backends.tensorrt.backend import TensorRtBackend
from geminifusion_runtime.backends.tensorrt.requirements import (
    TensorRtError,
    plan_parts,
    plugin_of,
    require_capability,
    require_version,
    size_problem,
)

SINGLE = ShapeRange(minimum=(1, 16, 16), optimum=(1, 48, 64), maximum=(1, 160, 160))
BATCHED = ShapeRange(minimum=(2, 16, 16), optimum=(4, 48, 64), maximum=(4, 64, 64))
NEEDS = EngineRequirements(tensorrt_version="11.4.0.106", compute_capability="8.9", profiles=(SINGLE, BATCHED))


@pytest.fixture
def engine_artifact(make_artifact, tmp_path):
    """An artifact whose engine and plugin are files of the right hash; TensorRT never sees them here."""
    directory = make_artifact(tmp_path / "with-engine")
    (directory / "engine.plan").write_bytes(b"engine")
    (directory / "plugin.so").write_bytes(b"plugin")
    metadata = read_metadata(directory)
    files = {name: sha256_of(directory / name) for name in ("engine.plan", "plugin.so")}
    needs = dataclasses.replace(NEEDS, plugin_file="plugin.so", plugin_sha256=files["plugin.so"])
    write_metadata(
        directory,
        dataclasses.replace(
            metadata,
            files={**metadata.files, **files},
            runtimes=(RuntimeFile(runtime="tensorrt", file="engine.plan", precision="float32"),),
            engine=needs,
        ),
    )
    return directory


def test_artifact_without_an_engine_is_refused(tiny_artifact):
    with pytest.raises(TensorRtError, match=r"tiny@1 holds no TensorRT engine; build one"):
        TensorRtBackend(tiny_artifact, read_metadata(tiny_artifact))


def test_corrupted_engine_is_refused_before_it_is_loaded(engine_artifact):
    (engine_artifact / "engine.plan").write_bytes(b"Engine")
    with pytest.raises(ArtifactError, match=r"engine\.plan has SHA-256 .*damaged or replaced"):
        open_artifact(engine_artifact)


def test_missing_engine_is_refused(engine_artifact):
    (engine_artifact / "engine.plan").unlink()
    with pytest.raises(TensorRtError, match=r"engine\.plan is missing; copy the whole artifact"):
        TensorRtBackend(engine_artifact, read_metadata(engine_artifact))


def test_missing_plugin_is_refused(engine_artifact):
    (engine_artifact / "plugin.so").unlink()
    with pytest.raises(TensorRtError, match=r"needs the plugin .*plugin\.so, which is missing"):
        TensorRtBackend(engine_artifact, read_metadata(engine_artifact))


def test_another_plugin_is_refused(engine_artifact):
    (engine_artifact / "plugin.so").write_bytes(b"another")
    with pytest.raises(TensorRtError, match=r"plugin\.so has SHA-256 .*, the engine was built with"):
        TensorRtBackend(engine_artifact, read_metadata(engine_artifact))


def test_engine_of_functions_needs_no_plugin(tmp_path):
    assert plugin_of(tmp_path, NEEDS) is None


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_absent_tensorrt_is_named_with_what_to_install(engine_artifact):
    with pytest.raises(TensorRtError, match=r"TensorRT is not installed; install it: pip install"):
        TensorRtBackend(engine_artifact, read_metadata(engine_artifact))


@pytest.mark.parametrize("version", ["11.4.1.2", "10.14.1.48", "11.4.0.105"])
def test_another_tensorrt_is_refused(version):
    require_version(NEEDS, "11.4.0.106")
    with pytest.raises(TensorRtError, match=rf"built with TensorRT 11\.4\.0\.106, {version} is installed"):
        require_version(NEEDS, version)


@pytest.mark.parametrize(
    ("compatibility", "built_on", "runs_on", "refused_on"),
    [
        ("none", "8.9", ["8.9"], ["8.6", "9.0", "12.0"]),
        ("same_compute_capability", "8.9", ["8.9"], ["8.6", "9.0"]),
        ("ampere_plus", "8.6", ["8.0", "8.6", "8.9", "9.0", "10.0", "12.1"], ["7.5"]),
    ],
)
def test_engine_is_refused_on_a_gpu_it_was_not_built_for(compatibility, built_on, runs_on, refused_on):
    needs = dataclasses.replace(NEEDS, compute_capability=built_on, hardware_compatibility=compatibility)
    for capability in runs_on:
        require_capability(needs, capability)
    for capability in refused_on:
        with pytest.raises(TensorRtError, match=f"this GPU has {capability}; build it again"):
            require_capability(needs, capability)


def test_size_outside_the_profiles_is_refused_naming_the_ranges():
    assert size_problem(NEEDS.profiles, 160, 16) is None
    problem = size_problem(NEEDS.profiles, 161, 64)
    assert "1 frame(s) of 161x64" in problem
    assert "batch 1 to 1, height 16 to 160, width 16 to 160 or batch 2 to 4" in problem


@pytest.mark.parametrize(
    ("batch", "height", "expected"),
    [
        (1, 48, [(0, 0, 1)]),
        (4, 48, [(1, 0, 4)]),
        (9, 48, [(1, 0, 4), (1, 4, 8), (0, 8, 9)]),
        (2, 160, [(0, 0, 1), (0, 1, 2)]),  # too large for the batched profile
    ],
)
def test_batch_is_run_in_as_few_parts_as_the_profiles_allow(batch, height, expected):
    assert plan_parts(NEEDS.profiles, batch, height, 64) == tuple(expected)


def test_of_two_profiles_that_take_a_frame_the_closer_one_runs_it():
    wide = ShapeRange(minimum=(1, 16, 16), optimum=(1, 48, 64), maximum=(4, 640, 640))
    close = ShapeRange(minimum=(1, 16, 16), optimum=(1, 48, 64), maximum=(4, 64, 64))
    assert plan_parts((wide, close), 4, 64, 64) == ((1, 0, 4),)
    assert plan_parts((wide, close), 4, 65, 64) == ((0, 0, 4),)
