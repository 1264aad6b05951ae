"""Which runtime serves an artifact, on the tiny ONNX file of these tests."""

import dataclasses

import onnxruntime
import pytest

from geminifusion_runtime.artifact import EngineRequirements, RuntimeFile, ShapeRange, read_metadata
from geminifusion_runtime.backends.plugins import open_plugin
from geminifusion_runtime.backends.selection import open_backend, precision_of
from geminifusion_runtime.devices import AUTO, parse_devices


def chosen(directory, metadata, wanted="auto"):
    return open_backend(directory, metadata, wanted=wanted, threads=1)


@pytest.fixture
def metadata(tiny_artifact):
    return read_metadata(tiny_artifact)


def with_file(metadata, runtime, file, precision="float32", **fields):
    return dataclasses.replace(
        metadata,
        files={**metadata.files, file: "0" * 64},
        runtimes=(RuntimeFile(runtime=runtime, file=file, precision=precision),),
        **fields,
    )


def test_an_artifact_of_one_file_is_served_by_onnx_runtime(tiny_artifact, metadata):
    found = chosen(tiny_artifact, metadata)
    assert found.backend.name == "onnxruntime-cpu"
    assert found.reason == "the artifact holds nothing for another runtime"


@pytest.mark.parametrize("wanted", ["openvino", "openvino-bfloat16", "openvino-int8", "tensorrt"])
def test_what_is_asked_for_and_not_in_the_artifact_is_refused_with_the_way_to_add_it(tiny_artifact, metadata, wanted):
    target = "openvino" if wanted == "openvino-bfloat16" else wanted
    with pytest.raises(RuntimeError, match=rf"none but model\.onnx.*geminifusion export .* --to {target}"):
        chosen(tiny_artifact, metadata, wanted)


def test_an_unknown_backend_is_refused_with_the_list(tiny_artifact, metadata):
    with pytest.raises(ValueError, match=r"'caffe'; expected one of auto, onnxruntime"):
        chosen(tiny_artifact, metadata, "caffe")


def test_an_engine_that_cannot_run_here_is_passed_over_with_the_reason(tiny_artifact, metadata):
    shape = (1, 64, 64)
    engine = EngineRequirements(
        tensorrt_version="11.4.0.106",
        compute_capability="8.9",
        profiles=(ShapeRange(minimum=shape, optimum=shape, maximum=shape),),
    )
    held = with_file(metadata, "tensorrt", "engine.plan", engine=engine)
    found = chosen(tiny_artifact, held)
    assert found.backend.name == "onnxruntime-cpu"
    assert "TensorRT" in found.reason
    with pytest.raises(RuntimeError, match=r"engine\.plan"):
        chosen(tiny_artifact, held, "tensorrt")


class TestOpenVino:
    @pytest.fixture
    def held(self, tiny_artifact, metadata, tmp_path):
        openvino = pytest.importorskip("openvino", reason="needs geminifusion[openvino]")
        openvino.save_model(openvino.Core().read_model(tiny_artifact / "model.onnx"), tmp_path / "openvino.xml")
        return tmp_path, with_file(metadata, "openvino", "openvino.xml")

    def test_is_preferred_where_the_artifact_holds_it(self, held):
        found = chosen(*held)
        assert found.backend.name == "openvino-cpu"
        assert "OpenVINO" in found.reason

    def test_int8_is_never_taken_unasked(self, tiny_artifact, metadata):
        held = with_file(metadata, "openvino", "openvino-int8.xml", "int8")
        assert chosen(tiny_artifact, held).backend.name == "onnxruntime-cpu"


def test_a_backend_that_cannot_use_the_device_is_refused(tiny_artifact, metadata):
    (gpu,) = parse_devices("cuda:1")
    with pytest.raises(RuntimeError, match="backend onnxruntime runs on cpu, not on cuda:1"):
        open_backend(tiny_artifact, metadata, wanted="onnxruntime", threads=1, device=gpu)
    (cpu,) = parse_devices("cpu")
    with pytest.raises(RuntimeError, match="backend tensorrt runs on cuda, not on cpu"):
        open_backend(tiny_artifact, metadata, wanted="tensorrt", threads=1, device=cpu)


def test_a_gpu_that_was_named_is_never_replaced_by_the_cpu(tiny_artifact, metadata):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has a CUDA provider")
    with pytest.raises(RuntimeError, match=r"no CUDAExecutionProvider .*geminifusion\[service-gpu\]"):
        open_backend(tiny_artifact, metadata, threads=1, device=parse_devices("cuda")[0])


def test_a_backend_no_installed_package_provides_is_refused_with_the_way_to_get_it(tiny_artifact, metadata):
    with pytest.raises(RuntimeError, match=r"no installed package provides the backend caffe"):
        open_plugin("caffe", tiny_artifact, metadata, threads=1, device=AUTO)


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("onnxruntime-cpu", "float32"),
        ("openvino-cpu", "float32"),
        ("openvino-cpu-bfloat16", "bfloat16"),
        ("openvino-cpu-int8", "int8"),
    ],
)
def test_the_name_of_a_backend_says_what_it_computes_in(metadata, backend, precision):
    assert precision_of(metadata, backend) == precision


def test_a_half_precision_graph_is_half_precision_on_its_own_runtime_only(metadata):
    half = dataclasses.replace(metadata, precision="float16")
    assert precision_of(half, "onnxruntime-cpu") == "float16"
    assert precision_of(half, "openvino-cpu") == "float32"
