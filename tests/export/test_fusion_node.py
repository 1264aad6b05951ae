"""The ONNX function against the specification, on ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from geminifusion_export.fusion_node import DOMAIN, OP_TYPE, function_body
from geminifusion_model.fusion_op import pixelwise_fusion, pixelwise_fusion_reference

INPUTS = ("q", "k_diff", "v_self", "v_cross")
FLOAT_TYPES = {np.float32: onnx.TensorProto.FLOAT, np.float16: onnx.TensorProto.FLOAT16}


def one_node_model(dtype, rank, num_heads):
    kind = FLOAT_TYPES[dtype]
    shape = [None] * rank
    node = onnx.helper.make_node(
        OP_TYPE, INPUTS, ["mixed"], domain=DOMAIN, num_heads=num_heads, plugin_namespace=DOMAIN, plugin_version="1"
    )
    graph = onnx.helper.make_graph(
        [node],
        "fusion",
        [onnx.helper.make_tensor_value_info(name, kind, shape) for name in INPUTS],
        [onnx.helper.make_tensor_value_info("mixed", kind, shape)],
    )
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, functions=[function_body(20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def error(found, truth):
    return np.abs(np.asarray(found, np.float64) - truth).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("num_heads", [1, 8])
@pytest.mark.parametrize("shape", [(1, 8), (7, 32), (3, 5, 64), (2, 13, 160)])
def test_function_computes_the_specification(dtype, num_heads, shape):
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape) for _ in INPUTS]
    truth = pixelwise_fusion_reference(*map(torch.from_numpy, arrays), num_heads).numpy()
    cast = [array.astype(dtype) for array in arrays]
    # what the same formula loses in this dtype, twice, is what another order of operations may lose
    reference = pixelwise_fusion_reference(*map(torch.from_numpy, cast), num_heads).numpy()
    allowed = 2 * error(reference, truth) + 1e-5
    session = ort.InferenceSession(one_node_model(dtype, len(shape), num_heads), providers=["CPUExecutionProvider"])
    (mixed,) = session.run(None, dict(zip(INPUTS, cast, strict=True)))
    assert mixed.dtype == dtype
    assert error(mixed, truth) <= allowed


def test_mixture_lies_between_both_values():
    q, k_diff = (torch.randn(50, 16, generator=torch.Generator().manual_seed(i)) for i in range(2))
    mixed = pixelwise_fusion_reference(q, k_diff, torch.ones(50, 16), torch.zeros(50, 16), 4)
    assert ((mixed > 0) & (mixed < 1)).all()
    toward_self = pixelwise_fusion_reference(100 * q, q, torch.ones(50, 16), torch.zeros(50, 16), 4)
    torch.testing.assert_close(toward_self, torch.ones(50, 16), atol=1e-2, rtol=0)


def test_torch_op_fulfils_its_registration():
    inputs = tuple(torch.randn(6, 16) for _ in INPUTS)
    torch.library.opcheck(pixelwise_fusion, (*inputs, 4), test_utils=("test_schema", "test_faketensor"))
