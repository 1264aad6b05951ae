"""Naming the layer that went wrong, on the real exported B0."""

from functools import partial

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from geminifusion_export.graph import SegmentationGraph
from geminifusion_export.openvino_ir import values_in_openvino, write_openvino
from geminifusion_export.storage import store_weights_as_float16
from geminifusion_export.verification.divergence import describe_divergence, find_divergence, layer_of
from geminifusion_export.verification.torch_divergence import first_divergence
from geminifusion_model import GeminiFusion
from geminifusion_model.data.nyuv2 import nyuv2_task


@pytest.fixture(scope="module")
def model(artifact):
    return onnx.load(artifact / "model.onnx")


@pytest.fixture(scope="module")
def feeds():
    generator = np.random.default_rng(0)
    return {
        "rgb": generator.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8),
        "depth": generator.random((1, 64, 64), dtype=np.float32) * 5,
    }


def damaged(model, name):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    initializer = next(entry for entry in copy.graph.initializer if entry.name == name)
    weights = numpy_helper.to_array(initializer).copy()
    weights.flat[:3] += 0.5
    initializer.CopyFrom(numpy_helper.from_array(weights, name))
    return copy


@pytest.mark.parametrize("layer", ["encoder.stages.1.blocks.0.fc2", "encoder.stages.0.blocks.0.attention.fusion.key.0"])
def test_layer_with_damaged_weights_is_named(model, feeds, layer):
    found = find_divergence(model, damaged(model, f"network.{layer}.weight"), feeds)
    assert found.layer == layer
    assert found.input_error == 0.0
    assert found.error > 0.01
    assert str(found).startswith(f"{layer} (Gemm")


@pytest.mark.slow
@pytest.mark.parametrize("layer", [None, "encoder.stages.1.blocks.0.fc2"])
def test_layer_that_openvino_computes_otherwise_is_named(model, feeds, tmp_path, layer):
    pytest.importorskip("openvino", reason="needs the extra openvino")
    path = tmp_path / "model.onnx"
    onnx.save(damaged(model, f"network.{layer}.weight") if layer else model, path)
    file = write_openvino(path, tmp_path).file
    found = describe_divergence(model, model, feeds, partial(values_in_openvino, tmp_path / file, feeds, "float32"))
    assert found is None if layer is None else found.startswith(layer), found


def test_graph_does_not_depart_from_itself(model, feeds):
    assert find_divergence(model, model, feeds) is None


def test_rounded_weights_depart_by_their_rounding_alone(model, feeds):
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    store_weights_as_float16(rounded)
    assert find_divergence(model, rounded, feeds, tolerance=1e-2) is None


def test_graphs_that_cannot_be_compared_are_reported_as_such(model, feeds):
    assert "no layer could be named" in describe_divergence(model, model, {"rgb": feeds["rgb"]})


def test_layer_that_leaves_torch_is_named(model, feeds, checkpoint):
    graph = SegmentationGraph(GeminiFusion.from_pretrained(checkpoint), nyuv2_task(13))
    assert "the output of every module agrees" in first_divergence(graph, model, feeds, 1e-3)
    layer = "encoder.stages.2.blocks.0.fc2"
    assert first_divergence(graph, damaged(model, f"network.{layer}.weight"), feeds, 1e-3).startswith(layer)


def test_node_without_a_scope_goes_by_its_own_name():
    node = onnx.helper.make_node("Relu", ["a"], ["b"], name="relu_1")
    assert layer_of(node) == "relu_1"
