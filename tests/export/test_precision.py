"""Half-precision graphs: the type asked for is the type computed in, and the answers are still right."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from geminifusion_export.errors import ExportError
from geminifusion_export.fusion_node import DOMAIN, OP_TYPE
from geminifusion_export.graph import example_inputs
from geminifusion_export.precision import count_precisions, require_precision, to_precision
from geminifusion_export.storage import save_model, store_weights_as_float16, widen_stored_weights
from geminifusion_model.data.nyuv2 import nyuv2_task

PRODUCTS = {"Conv", "Gemm", "MatMul", OP_TYPE}
HALF = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


@pytest.fixture(scope="module")
def model(artifact):
    return onnx.load(artifact / "model.onnx")


@pytest.fixture(scope="module")
def halves(model):
    return {precision: to_precision(model, precision) for precision in HALF}


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # float16 constants it cannot fold are worth a warning to it
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def float32(model):
    return session(model)


@pytest.fixture(scope="module")
def float16(halves):
    return session(halves["float16"])


def feeds(batch, height, width, seed=0):
    rgb, depth = example_inputs(nyuv2_task(13), batch, height, width, seed=seed)
    return {"rgb": rgb.numpy(), "depth": depth.numpy()}


def types_of(model):
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    values = (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


@pytest.mark.parametrize("precision", HALF)
def test_every_product_and_its_weights_are_of_the_type_asked_for(halves, precision):
    half, types = halves[precision], types_of(halves[precision])
    products = [node for node in half.graph.node if node.op_type in PRODUCTS]
    assert len(products) > 100
    for node in products:
        assert {types[name] for name in (*node.input, *node.output)} == {HALF[precision]}, node.name
    assert count_precisions(half)[precision] > 200
    require_precision(half, precision)


@pytest.mark.parametrize("precision", HALF)
def test_norms_and_softmaxes_and_the_ends_stay_in_float32(model, halves, precision):
    half, types = halves[precision], types_of(halves[precision])
    kept = [
        n for n in half.graph.node if n.op_type in ("LayerNormalization", "Softmax", "Sigmoid", "ReduceSum", "ArgMax")
    ]
    assert {types[n.input[0]] for n in kept} == {TensorProto.FLOAT}
    assert [(v.name, v.type) for v in half.graph.input] == [(v.name, v.type) for v in model.graph.input]
    assert [(v.name, v.type) for v in half.graph.output] == [(v.name, v.type) for v in model.graph.output]


@pytest.mark.parametrize("precision", HALF)
def test_graph_is_valid_and_no_operator_mixes_types(halves, precision):
    half, types = halves[precision], types_of(halves[precision])
    onnx.checker.check_model(half, full_check=True)
    floats = {TensorProto.FLOAT, *HALF.values()}
    for node in half.graph.node:
        if node.op_type in ("Cast", "Resize"):
            continue
        assert len({types[n] for n in (*node.input, *node.output) if types.get(n) in floats}) <= 1, node.name


@pytest.mark.parametrize("precision", HALF)
def test_weights_take_half_the_bytes(model, halves, precision):
    assert halves[precision].ByteSize() < 0.6 * model.ByteSize()


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 61, 83)])
def test_float16_graph_runs_and_answers_as_float32_does(float32, float16, shape):
    expected = float32.run(None, feeds(*shape))
    found = float16.run(None, feeds(*shape))
    assert [array.dtype for array in found] == [array.dtype for array in expected]
    assert (found[0] == expected[0]).mean() > 0.98, "random weights, so margins between classes are thin"
    np.testing.assert_allclose(found[1], expected[1], atol=0.05)
    np.testing.assert_allclose(found[2], expected[2], atol=5e-3)


def test_weights_stored_as_float16_become_weights_computed_with(model, halves):
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    store_weights_as_float16(stored)
    weights = {t.name: t.raw_data for t in to_precision(stored, "float16").graph.initializer if t.data_type == 10}
    expected = {t.name: t.raw_data for t in halves["float16"].graph.initializer if t.data_type == 10}
    assert weights == expected


def test_widening_undoes_storing_but_for_the_rounding(model):
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    count = store_weights_as_float16(stored)
    assert widen_stored_weights(stored) == count
    assert [node.name for node in stored.graph.node] == [node.name for node in model.graph.node]
    for found, expected in zip(stored.graph.initializer, model.graph.initializer, strict=True):
        assert found.name == expected.name
        assert found.data_type == expected.data_type
        if expected.data_type == TensorProto.FLOAT:
            np.testing.assert_allclose(
                numpy_helper.to_array(found), numpy_helper.to_array(expected), rtol=2**-11, atol=2**-24
            )


def test_a_graph_of_another_precision_is_refused_by_name(model, halves):
    with pytest.raises(ExportError, match=r"^0 of \d+ products of the graph compute in float16, Conv .* \(float32\)"):
        require_precision(model, "float16")
    with pytest.raises(ExportError, match="compute in float32"):
        to_precision(halves["float16"], "bfloat16")
    with pytest.raises(ExportError, match="not int8"):
        to_precision(model, "int8")


def linear_graph(weight):
    """Two matrix products with a ReLU between them, after a doubling and before a shift."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"], name="doubling"),
        helper.make_node("MatMul", ["doubled", "weight"], ["product"], name="product"),
        helper.make_node("Relu", ["product"], ["positive"], name="relu"),
        helper.make_node("MatMul", ["positive", "weight"], ["second"], name="second"),
        helper.make_node("Add", ["second", "two"], ["y"], name="shift"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [
            numpy_helper.from_array(np.float32(2.0), "two"),
            numpy_helper.from_array(np.asarray(weight, np.float32), "weight"),
        ],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_a_weight_too_large_for_float16_is_refused_and_fits_bfloat16():
    model = linear_graph([[1e6, 0.0], [0.0, 1.0]])
    with pytest.raises(ExportError, match=r"weight weight reaches 1e\+06, beyond float16's 6.55e\+04; .*bfloat16"):
        to_precision(model, "float16")
    weight = next(t for t in to_precision(model, "bfloat16").graph.initializer if t.data_type == TensorProto.BFLOAT16)
    assert numpy_helper.to_array(weight)[0, 0] == ml_dtypes.bfloat16(1e6)


def test_bfloat16_graph_computes_what_rounding_says():
    model = to_precision(linear_graph([[1.00390625, 0.0], [0.0, 3.0]]), "bfloat16")
    (found,) = ReferenceEvaluator(model).run(None, {"x": np.array([[1.0, -1.0]], np.float32)})
    # 1 + 1/256 lies between two bfloat16 values and rounds to the even one, 1
    np.testing.assert_array_equal(found, np.array([[4.0, 2.0]], np.float32))
    assert count_precisions(model) == {"float32": 2, "bfloat16": 3}


def test_model_past_one_files_limit_keeps_its_weights_in_a_second_one(model, float32, tmp_path):
    before = [tensor.raw_data for tensor in model.graph.initializer]
    path, data = save_model(model, tmp_path / "model.onnx", single_file_bytes=1000)
    assert data == tmp_path / "model.onnx.data"
    assert path.stat().st_size < 0.2 * data.stat().st_size
    assert [tensor.raw_data for tensor in model.graph.initializer] == before, "the caller's model keeps its weights"
    save_model(model, path, single_file_bytes=1000)
    assert data.stat().st_size < 1.1 * sum(map(len, before)), "writing again replaces the weights"
    onnx.checker.check_model(path, full_check=True)
    inputs = feeds(1, 64, 64)
    found = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    for array, expected in zip(found, float32.run(None, inputs), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_model_within_the_limit_is_one_file(model, tmp_path):
    assert save_model(model, tmp_path / "model.onnx") == (tmp_path / "model.onnx",)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
