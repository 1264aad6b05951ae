"""What the engine builder decides before and after TensorRT: profiles, precisions, refusals. No GPU is needed."""

import dataclasses
import importlib.util
import json
import re

import pytest

from geminifusion_export.engine.build import EngineBuildError, EngineOptions, build_engine
from geminifusion_export.engine.inspection import LayerTypes, inspected_types, type_problem
from geminifusion_export.engine.profiles import default_profiles, parse_profile, profile_problem
from geminifusion_runtime.artifact import ShapeRange, SizePolicy, read_metadata, write_metadata
from geminifusion_runtime.backends.tensorrt.requirements import TensorRtError, plan_parts, size_problem

SIZE = SizePolicy(min_side=58, max_pixels=1280 * 960, reference=(480, 640))


def test_default_profiles_take_the_reference_alone_and_in_batches_and_large_frames_alone():
    profiles = default_profiles(SIZE, 8)
    assert profile_problem(SIZE, profiles) is None
    for height, width in [(480, 640), (640, 480), (960, 1280), (1280, 960), (58, 58)]:
        assert size_problem(profiles, height, width) is None
    assert plan_parts(profiles, 8, 480, 640) == ((1, 0, 8),)
    assert plan_parts(profiles, 1, 480, 640) == ((0, 0, 1),)
    assert len(default_profiles(SIZE, 1)) == 1


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("1x32x64:1x480x640:8x640x640", "starts at 32 pixels, but the network takes no side below 58"),
        ("1x2000x2000:1x2000x2000:1x2000x2000", "reduced to 1228800 pixels"),
        ("1x58x58:1x240x320:8x320x320", "no profile takes one frame of the reference size 480x640"),
        ("2x58x58:2x480x640:8x640x640", "no profile takes one frame of the reference size 480x640"),
    ],
)
def test_profile_that_does_not_fit_the_sizes_is_refused(profile, words):
    assert words in profile_problem(SIZE, [parse_profile(profile)])


@pytest.mark.parametrize("text", ["", "1x64x64", "8x64x64:1x64x64:1x64x64", "ax64x64:1x64x64:1x64x64", "1x2:3x4:5x6"])
def test_text_that_is_no_profile_is_refused(text):
    with pytest.raises(TensorRtError, match="is not MIN:BEST:MAX"):
        parse_profile(text)


def test_profile_is_read_from_text():
    assert parse_profile("1x64x64:2X480x640:8x640x640") == ShapeRange(
        minimum=(1, 64, 64), optimum=(2, 480, 640), maximum=(8, 640, 640)
    )


@pytest.mark.parametrize(
    "wrong", [{"max_batch": 0}, {"optimization_level": 6}, {"workspace_gib": 0.0}, {"use_plugin": False, "plugin": "x"}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"expected|choose"):
        EngineOptions(**wrong)


def test_half_precision_of_a_float32_graph_is_refused_before_anything_is_built(tiny_artifact, tmp_path):
    with pytest.raises(EngineBuildError, match=r"float16 was asked for, the graph computes in float32.*--precision"):
        build_engine(tiny_artifact, tmp_path, EngineOptions(precision="float16"))


def test_profile_outside_the_artifacts_sizes_is_refused_before_anything_is_built(tiny_artifact, tmp_path):
    small = parse_profile("1x8x8:1x48x64:4x64x64")
    with pytest.raises(EngineBuildError, match="no side below 16; choose other profiles"):
        build_engine(tiny_artifact, tmp_path, EngineOptions(profiles=(small,)))


def test_missing_plugin_library_is_refused(tiny_artifact, tmp_path):
    with pytest.raises(EngineBuildError, match=r"is no file; build it: geminifusion export plugin"):
        build_engine(tiny_artifact, tmp_path, EngineOptions(plugin=tmp_path / "none.so"))


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_absent_tensorrt_is_named_with_what_to_install(tiny_artifact, tmp_path):
    with pytest.raises(EngineBuildError, match=r'TensorRT is not installed; install it: pip install "geminifusion'):
        build_engine(tiny_artifact, tmp_path, EngineOptions())
    assert not list(tmp_path.iterdir())


def _layer(name, kind, datatype):
    return {"Name": name, "LayerType": kind, "Outputs": [{"Name": "y", "Format/Datatype": datatype}]}


def test_inspectors_words_for_types_are_counted():
    report = json.dumps(
        {
            "Layers": [
                _layer("a", "kgen", "Half"),
                _layer("b", "gemm", "Row major linear FP16 format"),
                _layer("c", "CaskConvolution", "Channel major FP16 format where channel % 8 == 0"),
                _layer("d", "kgen", "Float"),
                _layer("e", "kgen", "BFloat16"),
                _layer("f", "kgen", "Row major linear BF16 format"),
                _layer("g", "shape", "Int64"),
                _layer("h", "PluginV3", "Half"),
                _layer("i", "kgen", "N/A due to dynamic shapes"),
                {"Name": "j", "LayerType": "signal", "Outputs": []},
            ],
            "Bindings": ["rgb"],
        }
    )
    types = inspected_types(report)
    assert types.all == {"float16": 4, "float32": 1, "bfloat16": 2, "integer": 1, "unknown": 2}
    assert types.plugins == {"float16": 1}


@pytest.mark.parametrize("report", ["", "{}", "[]", '{"Layers": ["conv1", "conv2"]}'])
def test_report_without_details_is_refused(report):
    with pytest.raises(ValueError, match="the engine inspector gave"):
        inspected_types(report)


@pytest.mark.parametrize(
    ("types", "precision", "plugins", "words"),
    [
        (LayerTypes(all={"float32": 90}), "float16", 0, "no layer computes in it: 90 float32"),
        (LayerTypes(all={"unknown": 90}), "float32", 0, "no layer computes in it: 90 unknown"),
        (LayerTypes(all={"float32": 90}), "float32", 16, "0 plugin layers .* 16 fusions .* body was imported"),
        (LayerTypes(all={"float16": 9, "float32": 1}, plugins={"float32": 1}), "float16", 1, "there are 1 float32"),
        (LayerTypes(all={"float16": 9}, products={"float16": 8, "float32": 2}), "float16", 0, "there are 2 float32"),
    ],
)
def test_engine_that_is_not_what_was_asked_for_is_refused(types, precision, plugins, words):
    problem = type_problem(types, precision, num_plugins=plugins)
    assert problem is not None
    assert re.search(words, problem)


def test_engine_that_is_what_was_asked_for_passes():
    types = LayerTypes(all={"float16": 40, "float32": 9, "integer": 3}, plugins={"float16": 16})
    assert type_problem(types, "float16", num_plugins=16) is None


def test_damaged_artifact_is_refused(make_artifact, tmp_path):
    artifact = make_artifact(tmp_path / "damaged")
    metadata = read_metadata(artifact)
    write_metadata(artifact, dataclasses.replace(metadata, files=dict.fromkeys(metadata.files, "0" * 64)))
    with pytest.raises(ValueError, match="SHA-256"):
        build_engine(artifact, tmp_path, EngineOptions())
