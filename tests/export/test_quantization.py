"""Post-training quantization, on a network small enough to quantize in a moment and, slowly, on a real one."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geminifusion_export.errors import ExportError, VerificationError
from geminifusion_export.graph import frame_inputs
from geminifusion_export.openvino_ir import write_openvino
from geminifusion_export.quantization import (
    QuantizationOptions,
    measure_loss,
    quantize,
    sensitive_products,
    write_int8,
)
from geminifusion_model.data.sample import Sample, Subset
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_runtime.backends.openvino import OpenVinoBackend

openvino = pytest.importorskip("openvino", reason="needs geminifusion[openvino]")
pytest.importorskip("nncf", reason="needs geminifusion[openvino]")


def convolutions():
    """Four 1x1 convolutions of RGB and depth to 13 classes, with the contract's signature."""
    random = np.random.default_rng(0)
    widths = [4, 16, 16, 16, 13]
    weights = {
        f"weight_{i}": (random.standard_normal((after, before, 1, 1)) / before**0.5).astype(np.float32)
        for i, (before, after) in enumerate(pairwise(widths))
    }
    constants = {"white": np.float32(255.0), "channel": np.array([1], np.int64), "last": np.array([3], np.int64)}
    nodes = [
        helper.make_node("Cast", ["rgb"], ["rgb_float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["rgb_float", "white"], ["intensity"]),
        helper.make_node("Unsqueeze", ["depth", "last"], ["depth_map"]),
        helper.make_node("Concat", ["intensity", "depth_map"], ["both"], axis=3),
        helper.make_node("Transpose", ["both"], ["map_0"], perm=[0, 3, 1, 2]),
    ]
    for i, name in enumerate(weights):
        nodes.append(helper.make_node("Conv", [f"map_{i}", name], [f"sum_{i}"], name=f"conv_{i}"))
        nodes.append(helper.make_node("Relu", [f"sum_{i}"], [f"map_{i + 1}"]))
    pool = {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1}
    nodes += [
        helper.make_node("ArgMax", ["sum_3"], ["winner"], axis=1, keepdims=0),
        helper.make_node("Cast", ["winner"], ["labels"], to=TensorProto.UINT8),
        helper.make_node("Softmax", ["sum_3"], ["shares"], axis=1),
        helper.make_node("ReduceMax", ["shares", "channel"], ["best"], keepdims=1),
        helper.make_node("AveragePool", ["best"], ["pooled"], **pool),
        helper.make_node("Squeeze", ["pooled", "channel"], ["confidence"]),
        helper.make_node("Identity", ["confidence"], ["gate"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [value("rgb", TensorProto.UINT8, ["B", "H", "W", 3]), value("depth", TensorProto.FLOAT, ["B", "H", "W"])],
        [
            value("labels", TensorProto.UINT8, ["B", "H", "W"]),
            value("confidence", TensorProto.FLOAT, ["B", "h", "w"]),
            value("gate", TensorProto.FLOAT, ["B", "h", "w"]),
        ],
        [numpy_helper.from_array(array, name) for name, array in (weights | constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module")
def frames():
    return Rooms(4, seed=3, size=(48, 64))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    directory = tmp_path_factory.mktemp("network")
    onnx.save(convolutions(), directory / "model.onnx")
    return directory / write_openvino(directory / "model.onnx", directory).file


def read(path):
    return openvino.Core().read_model(path)


def test_first_and_last_product_stay_in_float(network):
    assert [name.split("/")[0] for name in sensitive_products(read(network))] == ["conv_0", "conv_3"]


def test_products_between_them_are_int8_and_labels_mostly_the_same(network, frames, tmp_path):
    entry, loss = write_int8(network, tmp_path, frames, frames, QuantizationOptions(allowed_loss=5.0), threads=1)
    assert (entry.runtime, entry.file, entry.precision) == ("openvino", "openvino-int8.xml", "int8")
    quantized = read(tmp_path / entry.file)
    inputs_of = {
        node.get_friendly_name().split("/")[0]: {value.get_node().get_type_name() for value in node.input_values()}
        for node in quantized.get_ops()
        if node.get_type_name() == "Convolution"
    }
    assert [name for name, kinds in sorted(inputs_of.items()) if "FakeQuantize" in kinds] == ["conv_1", "conv_2"]
    assert loss.frames == len(frames)
    assert 0.9 < loss.label_agreement < 1.0
    assert abs(loss.points) < 5.0


def test_a_loss_beyond_the_allowed_one_is_refused_and_leaves_no_file(network, frames, tmp_path):
    with pytest.raises(VerificationError, match=r"int8 loses .* on 2 held-out frames .* serve the float32 network"):
        write_int8(
            network, tmp_path, frames, frames, QuantizationOptions(held_out_frames=2, allowed_loss=-100.0), threads=1
        )
    assert list(tmp_path.iterdir()) == []


def test_a_network_loses_nothing_against_itself(network, frames):
    backend = OpenVinoBackend(network, threads=1)
    loss = measure_loss(backend, backend, frames, limit=2)
    assert (loss.frames, loss.label_agreement, loss.points) == (2, 1.0, 0.0)


def test_frames_without_a_sensor_and_splits_without_frames_are_refused(network, frames):
    sample = frames[0]
    with pytest.raises(ExportError, match="has rgb, the network also takes depth"):
        frame_inputs(Sample(sample.name, sample.rgb, {}, sample.labels), frames.task)
    backend = OpenVinoBackend(network, threads=1)
    with pytest.raises(ExportError, match="no held-out frame"):
        measure_loss(backend, backend, Subset(frames, []))
    with pytest.raises(ExportError, match="0 calibration frames"):
        QuantizationOptions(calibration_frames=0)


@pytest.mark.slow
def test_a_real_network_keeps_its_labels_in_int8(artifact, frames, tmp_path):
    network = tmp_path / write_openvino(artifact / "model.onnx", tmp_path).file
    sensitive = sensitive_products(read(network))
    assert len(sensitive) == 2 * 2 * 4 + 3, "scores and sums of 8 attentions, two stems, one classifier"
    quantize(network, tmp_path, [frame_inputs(frames[index], frames.task) for index in range(3)], 3)
    loss = measure_loss(
        OpenVinoBackend(network, threads=2),
        OpenVinoBackend(tmp_path / "openvino-int8.xml", precision="int8", threads=2),
        frames,
    )
    assert loss.label_agreement > 0.8, "random weights, so margins between classes are thin"
