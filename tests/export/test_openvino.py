"""OpenVINO's copy of the network against ONNX Runtime, and its int8 version."""

import sys

import numpy as np
import onnx
import pytest

from geminifusion_export.errors import ExportError
from geminifusion_export.graph import example_inputs
from geminifusion_export.openvino_ir import OpenVinoRuntime, write_openvino
from geminifusion_export.own_thread import in_own_thread
from geminifusion_export.precision import to_precision
from geminifusion_export.runtimes import OnnxRuntime
from geminifusion_export.storage import save_model, store_weights_as_float16
from geminifusion_model.data.nyuv2 import nyuv2_task

openvino = pytest.importorskip("openvino", reason="needs geminifusion[openvino]")


def feeds(batch, height, width, seed=0):
    rgb, depth = example_inputs(nyuv2_task(13), batch, height, width, seed=seed)
    return {"rgb": rgb.numpy(), "depth": depth.numpy()}


def abilities():
    return in_own_thread(lambda: openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@pytest.fixture(scope="module")
def network(artifact, tmp_path_factory):
    directory = tmp_path_factory.mktemp("openvino")
    entry = write_openvino(artifact / "model.onnx", directory)
    assert (entry.runtime, entry.file, entry.precision) == ("openvino", "openvino.xml", "float32")
    return directory / entry.file


@pytest.fixture(scope="module")
def runtime(network):
    return OpenVinoRuntime(network, threads=1)


@pytest.fixture(scope="module")
def reference(artifact):
    return OnnxRuntime(artifact / "model.onnx", threads=1)


def assert_close(found, expected, *, labels, confidence, gate):
    for array, wanted in zip(found, expected, strict=True):
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
    assert (found.labels == expected.labels).mean() >= labels
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=confidence)
    np.testing.assert_allclose(found.gate, expected.gate, atol=gate)


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 61, 83), (3, 33, 47)])
def test_any_size_and_batch_gives_onnx_runtimes_answers(runtime, reference, shape):
    assert runtime.precision == "float32"
    assert_close(runtime.run(feeds(*shape)), reference.run(feeds(*shape)), labels=0.999, confidence=1e-4, gate=1e-4)


def test_float32_is_computed_in_float32_on_a_processor_that_would_rather_not(runtime):
    assert not {"bf16", "f16"} & set(runtime.layer_types())


def test_answers_stay_valid_after_the_next_run(runtime):
    first = runtime.run(feeds(1, 64, 64))
    kept = [array.copy() for array in first]
    runtime.run(feeds(1, 64, 64, seed=1))
    for array, expected in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_network_fixed_to_a_size_gives_the_same_answers_and_refuses_others(network, reference):
    fixed = OpenVinoRuntime(network, threads=1, shape=(2, 61, 83))
    assert_close(fixed.run(feeds(2, 61, 83)), reference.run(feeds(2, 61, 83)), labels=0.999, confidence=1e-4, gate=1e-4)
    with pytest.raises(ExportError, match="fixed to 2x61x83, the batch is 1x64x64"):
        fixed.run(feeds(1, 64, 64))


@pytest.mark.parametrize(
    ("precision", "ability"), [("bfloat16", "BF16"), pytest.param("float16", "FP16", marks=pytest.mark.slow)]
)
def test_half_precision_is_computed_where_the_processor_can_and_refused_elsewhere(
    network, reference, precision, ability
):
    if ability not in abilities():
        with pytest.raises(ExportError, match=f"does not compute in {precision}"):
            OpenVinoRuntime(network, precision=precision, threads=1)
        return
    half = OpenVinoRuntime(network, precision=precision, threads=1)
    assert half.layer_types()[{"bfloat16": "bf16", "float16": "f16"}[precision]] > 500
    # random weights: margins between classes are thin
    assert_close(half.run(feeds(1, 64, 64)), reference.run(feeds(1, 64, 64)), labels=0.8, confidence=0.2, gate=0.05)


def test_weights_stored_as_float16_stay_small_and_exact(artifact, tmp_path):
    model = onnx.load(artifact / "model.onnx")
    float32 = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    store_weights_as_float16(model)
    onnx.save(model, tmp_path / "model.onnx")
    write_openvino(tmp_path / "model.onnx", tmp_path, name="small")
    assert (tmp_path / "small.bin").stat().st_size < 0.6 * float32
    expected = OnnxRuntime(tmp_path / "model.onnx", threads=1).run(feeds(1, 64, 64))
    found = OpenVinoRuntime(tmp_path / "small.xml", threads=1).run(feeds(1, 64, 64))
    assert_close(found, expected, labels=0.999, confidence=1e-4, gate=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_graphs_are_read_and_run(artifact, reference, tmp_path, precision):
    # ONNX Runtime has no bfloat16 kernels for CPUs, so this is where such a graph is run as a whole
    onnx.save(to_precision(onnx.load(artifact / "model.onnx"), precision), tmp_path / "half.onnx")
    write_openvino(tmp_path / "half.onnx", tmp_path)
    found = OpenVinoRuntime(tmp_path / "openvino.xml", threads=1).run(feeds(1, 64, 64))
    assert_close(found, reference.run(feeds(1, 64, 64)), labels=0.8, confidence=0.2, gate=0.05)


def test_weights_in_a_second_file_are_found(artifact, network, tmp_path):
    save_model(onnx.load(artifact / "model.onnx"), tmp_path / "model.onnx", single_file_bytes=1000)
    write_openvino(tmp_path / "model.onnx", tmp_path)
    assert (tmp_path / "openvino.bin").read_bytes() == network.with_suffix(".bin").read_bytes()


def test_without_openvino_the_message_says_how_to_get_it(artifact, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ExportError, match=r'pip install "geminifusion\[openvino\]"'):
        write_openvino(artifact / "model.onnx", tmp_path)


def test_files_that_are_no_network_are_refused(tmp_path):
    (tmp_path / "openvino.xml").write_text("<nothing/>")
    with pytest.raises(ExportError, match="cannot load"):
        OpenVinoRuntime(tmp_path / "openvino.xml")
