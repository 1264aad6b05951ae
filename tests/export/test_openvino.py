"""OpenVINO's copy of the network against ONNX Runtime, in the backends that serve them."""

import sys
from collections import Counter

import numpy as np
import onnx
import pytest

from geminifusion_export.errors import ExportError
from geminifusion_export.graph import random_batch
from geminifusion_export.openvino_ir import write_openvino
from geminifusion_export.precision import to_precision
from geminifusion_export.storage import save_model, store_weights_as_float16
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.openvino import OpenVinoBackend, OpenVinoNetwork, run_in_fresh_thread

openvino = pytest.importorskip("openvino", reason="needs geminifusion[openvino]")


def inputs(*shape, seed=0):
    return random_batch(nyuv2_task(13), shape, seed)


def layer_types(network, precision="float32"):
    """Number of compiled layers by the element type they run in, as OpenVINO reports them."""
    request = OpenVinoNetwork(network, precision=precision, threads=1).compile()
    layers = request.get_compiled_model().get_runtime_model().get_ops()
    return Counter(str(layer.get_rt_info()["runtimePrecision"].astype(str)) for layer in layers)


def capabilities():
    return run_in_fresh_thread(lambda: openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@pytest.fixture(scope="module")
def network(artifact, tmp_path_factory):
    directory = tmp_path_factory.mktemp("openvino")
    entry = write_openvino(artifact / "model.onnx", directory)
    assert (entry.runtime, entry.file, entry.precision) == ("openvino", "openvino.xml", "float32")
    return directory / entry.file


@pytest.fixture(scope="module")
def backend(network):
    return OpenVinoBackend(network, threads=1)


@pytest.fixture(scope="module")
def reference(artifact):
    return onnx_runtime(artifact / "model.onnx")


def onnx_runtime(model):
    return OnnxRuntimeBackend(model, threads=1, retained_pixels=48 * 64)


def assert_close(found, expected, *, labels, confidence, gate):
    assert list(found) == list(expected)
    for array, wanted in zip(found.values(), expected.values(), strict=True):
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
    assert (found["labels"] == expected["labels"]).mean() >= labels
    np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=confidence)
    np.testing.assert_allclose(found["gate"], expected["gate"], atol=gate)


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 61, 83), (3, 33, 47)])
def test_any_size_and_batch_gives_the_outputs_of_onnx_runtime(backend, reference, shape):
    assert_close(backend.run(inputs(*shape)), reference.run(inputs(*shape)), labels=0.999, confidence=1e-4, gate=1e-4)


def test_float32_is_computed_in_float32_on_a_processor_that_prefers_bfloat16(network):
    assert not {"bf16", "f16"} & set(layer_types(network))


def test_a_copy_compiled_for_one_shape_gives_the_same_outputs(network, reference):
    prepared = OpenVinoBackend(network, threads=1, prepared=[(2, 61, 83)])
    assert prepared.fixed_shapes == ((2, 61, 83),)
    found, expected = prepared.run(inputs(2, 61, 83)), reference.run(inputs(2, 61, 83))
    assert_close(found, expected, labels=0.999, confidence=1e-4, gate=1e-4)


@pytest.mark.parametrize(
    ("precision", "capability"), [("bfloat16", "BF16"), pytest.param("float16", "FP16", marks=pytest.mark.slow)]
)
def test_half_precision_is_computed_where_the_processor_can_and_refused_elsewhere(
    network, reference, precision, capability
):
    if capability not in capabilities():
        with pytest.raises(RuntimeError, match=f"does not compute in {precision}"):
            OpenVinoBackend(network, precision=precision, threads=1)
        return
    half = OpenVinoBackend(network, precision=precision, threads=1)
    assert layer_types(network, precision)[{"bfloat16": "bf16", "float16": "f16"}[precision]] > 500
    # random weights: margins between classes are thin
    assert_close(half.run(inputs(1, 64, 64)), reference.run(inputs(1, 64, 64)), labels=0.8, confidence=0.2, gate=0.05)


def test_weights_stored_as_float16_stay_small_and_exact(artifact, tmp_path):
    model = onnx.load(artifact / "model.onnx")
    float32 = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    store_weights_as_float16(model)
    onnx.save(model, tmp_path / "model.onnx")
    write_openvino(tmp_path / "model.onnx", tmp_path, name="small")
    assert (tmp_path / "small.bin").stat().st_size < 0.6 * float32
    expected = onnx_runtime(tmp_path / "model.onnx").run(inputs(1, 64, 64))
    found = OpenVinoBackend(tmp_path / "small.xml", threads=1).run(inputs(1, 64, 64))
    assert_close(found, expected, labels=0.999, confidence=1e-4, gate=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_graphs_are_read_and_run(artifact, reference, tmp_path, precision):
    # ONNX Runtime has no bfloat16 kernels for CPUs, so this is where such a graph is run as a whole
    onnx.save(to_precision(onnx.load(artifact / "model.onnx"), precision), tmp_path / "half.onnx")
    write_openvino(tmp_path / "half.onnx", tmp_path)
    found = OpenVinoBackend(tmp_path / "openvino.xml", threads=1).run(inputs(1, 64, 64))
    assert_close(found, reference.run(inputs(1, 64, 64)), labels=0.8, confidence=0.2, gate=0.05)


def test_weights_in_a_second_file_are_found(artifact, network, tmp_path):
    save_model(onnx.load(artifact / "model.onnx"), tmp_path / "model.onnx", single_file_bytes=1000)
    write_openvino(tmp_path / "model.onnx", tmp_path)
    assert (tmp_path / "openvino.bin").read_bytes() == network.with_suffix(".bin").read_bytes()


def test_without_openvino_the_message_says_how_to_get_it(artifact, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ExportError, match=r'pip install "geminifusion\[openvino\]"'):
        write_openvino(artifact / "model.onnx", tmp_path)
