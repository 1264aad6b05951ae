"""The exported graph of a real B0, on ONNX Runtime, against torch."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch

from geminifusion_export.errors import ExportError
from geminifusion_export.fusion_node import DOMAIN, OP_TYPE
from geminifusion_export.graph import SegmentationGraph, example_inputs
from geminifusion_export.storage import store_weights_as_float16
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.encoding import encode_inputs
from geminifusion_runtime.backends.onnx_runtime import open_session


@pytest.fixture(scope="module")
def model(artifact):
    return onnx.load(artifact / "model.onnx")


@pytest.fixture(scope="module")
def session(artifact):
    return open_session(artifact / "model.onnx", threads=1)


def run(session, inputs):
    return session.run(None, {"rgb": inputs[0].numpy(), "depth": inputs[1].numpy()})


def test_signature_is_the_contracts(model):
    def described(values):
        return {
            v.name: (v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
            for v in values
        }

    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    assert described(model.graph.input) == {
        "rgb": (uint8, ["batch", "height", "width", 3]),
        "depth": (float32, ["batch", "height", "width"]),
    }
    assert described(model.graph.output) == {
        "labels": (uint8, ["batch", "height", "width"]),
        "confidence": (float32, ["batch", "height_4", "width_4"]),
        "gate": (float32, ["batch", "height_4", "width_4"]),
    }


def test_every_block_keeps_its_fusion_as_one_node_per_stream_that_names_the_plugin(model):
    nodes = [node for node in model.graph.node if (node.domain, node.op_type) == (DOMAIN, OP_TYPE)]
    assert len(nodes) == 2 * 4
    attributes = [{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in nodes]
    assert all(a == {"num_heads": 8, "plugin_namespace": b"geminifusion", "plugin_version": b"1"} for a in attributes)
    assert [(f.domain, f.name) for f in model.functions] == [(DOMAIN, OP_TYPE)]


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 61, 83), (1, 33, 47)])
def test_untraced_sizes_and_batches_agree_with_torch(checkpoint, session, shape):
    graph = SegmentationGraph(GeminiFusion.from_pretrained(checkpoint), nyuv2_task(13))
    inputs = example_inputs(graph.task, *shape, seed=5)
    with torch.no_grad():
        labels, confidence, gate = graph(*inputs)
    got_labels, got_confidence, got_gate = run(session, inputs)
    assert (got_labels == labels.numpy()).mean() > 0.999
    assert len(np.unique(got_labels)) > 1
    np.testing.assert_allclose(got_confidence, confidence.numpy(), atol=1e-4)
    np.testing.assert_allclose(got_gate, gate.numpy(), atol=1e-4)


def test_batch_gives_the_labels_of_one_by_one(session):
    inputs = example_inputs(nyuv2_task(13), 4, 64, 96, seed=2)
    together = run(session, inputs)[0]
    alone = np.concatenate([run(session, [t[i : i + 1] for t in inputs])[0] for i in range(4)])
    np.testing.assert_array_equal(together, alone)


def test_every_kind_of_missing_depth_means_the_same(session):
    rgb, depth = example_inputs(nyuv2_task(13), 1, 64, 64)
    answers = []
    for hole in (0.0, -1.0, float("nan"), float("inf")):
        broken = depth.clone()
        broken[:, 16:48, 16:48] = hole
        answers.append(run(session, (rgb, broken)))
    for answer in answers[1:]:
        for expected, found in zip(answers[0], answer, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_half_precision_storage_halves_the_file_and_keeps_the_labels(model, session, tmp_path):
    small = onnx.ModelProto()
    small.CopyFrom(model)
    assert store_weights_as_float16(small) > 100
    onnx.checker.check_model(small)
    onnx.save(small, tmp_path / "small.onnx")
    assert len(small.SerializeToString()) < 0.6 * len(model.SerializeToString())
    inputs = example_inputs(nyuv2_task(13), 1, 96, 128)
    found = run(open_session(tmp_path / "small.onnx", threads=1), inputs)
    expected = run(session, inputs)
    assert (found[0] == expected[0]).mean() > 0.98, "random weights, so margins between classes are thin"
    np.testing.assert_allclose(found[1], expected[1], atol=0.05)


@pytest.mark.parametrize(("height", "width"), [(96, 128), (61, 83)])
def test_reduced_network_still_answers_at_the_size_of_its_inputs(checkpoint, height, width):
    net = GeminiFusion.from_pretrained(checkpoint)
    task = dataclasses.replace(nyuv2_task(13), input_scale=0.5)
    rgb, depth = example_inputs(task, 1, height, width)
    with torch.no_grad():
        labels, confidence, gate = SegmentationGraph(net, task)(rgb, depth)
        logits = net(*encode_inputs((rgb, depth), task)).ensemble
    assert labels.shape == (1, height, width)
    assert confidence.shape == gate.shape == (1, -(-height // 4), -(-width // 4))
    assert logits.shape[2:] == (-(-(height // 2) // 4), -(-(width // 2) // 4))
    full = torch.nn.functional.interpolate(logits, size=(height, width), mode="bilinear")
    assert (labels == full.argmax(1)).float().mean() > 0.999
    assert 1 / 13 <= confidence.min() <= confidence.max() <= 1


def test_network_and_task_must_fit():
    with pytest.raises(ExportError, match="13 classes, the network 5"):
        SegmentationGraph(GeminiFusion(GeminiFusionConfig(num_classes=5)), nyuv2_task(13))
    with pytest.raises(ExportError, match="modalities"):
        SegmentationGraph(
            GeminiFusion(GeminiFusionConfig(num_classes=13, modalities=("rgb", "thermal"))), nyuv2_task(13)
        )
