"""`geminifusion::PixelwiseFusion` in ONNX: an opaque node, and the function that defines what it computes.

One file serves every runtime. The node names a plugin (`plugin_namespace`, `plugin_version`), which TensorRT prefers to
a function of the same name only if those attributes are present. The body of the function lets a runtime without our
kernel run the node with standard operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx.defs
import onnx.parser

DOMAIN = "geminifusion"
DOMAIN_VERSION = 1
OP_TYPE = "PixelwiseFusion"
PLUGIN_VERSION = "1"

_TENSOR = "T"
_FLOATS = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]


def op_schema() -> onnx.defs.OpSchema:
    """The op's signature: `(q, k_diff, v_self, v_cross; num_heads) -> mixed`, all of one float type and shape `… C`."""
    parameter = onnx.defs.OpSchema.FormalParameter
    attribute = onnx.defs.OpSchema.Attribute
    kinds = onnx.defs.OpSchema.AttrType
    return onnx.defs.OpSchema(
        OP_TYPE,
        DOMAIN,
        DOMAIN_VERSION,
        doc="w = sigmoid(q·k_diff / sqrt(C/num_heads)) per head; mixed = v_cross + w·(v_self - v_cross)",
        inputs=[parameter(name, _TENSOR) for name in ("q", "k_diff", "v_self", "v_cross")],
        outputs=[parameter("mixed", _TENSOR)],
        type_constraints=[(_TENSOR, _FLOATS, "any float type")],
        attributes=[
            attribute("num_heads", kinds.INT, "heads; they divide C"),
            attribute("plugin_namespace", kinds.STRING, "TensorRT plugin namespace", required=False),
            attribute("plugin_version", kinds.STRING, "TensorRT plugin version", required=False),
        ],
    )


def translation() -> Callable[..., Any]:
    """The function that `torch.onnx.export` calls for each `torch.ops.geminifusion.pixelwise_fusion`."""
    from onnxscript import values  # only tracing needs it; reading a graph does not

    op = values.Op(values.Opset(DOMAIN, DOMAIN_VERSION), OP_TYPE, op_schema())

    def pixelwise_fusion(q: Any, k_diff: Any, v_self: Any, v_cross: Any, num_heads: int) -> Any:  # noqa: ANN401
        return op(
            q,
            k_diff,
            v_self,
            v_cross,
            num_heads=num_heads,
            plugin_namespace=DOMAIN,
            plugin_version=PLUGIN_VERSION,
        )

    return pixelwise_fusion


def function_body(opset: int) -> onnx.FunctionProto:
    """The op in standard operators: the graph's counterpart of `pixelwise_fusion_reference`."""
    return onnx.parser.parse_function(
        f"""
        <domain: "{DOMAIN}", opset_import: ["" : {opset}]>
        {OP_TYPE} <num_heads> (q, k_diff, v_self, v_cross) => (mixed) {{
            shape = Shape (q)
            heads = Constant <value_int: int = @num_heads> ()
            one = Constant <value_ints = [1]> ()
            minus_one = Constant <value_ints = [-1]> ()
            heads_1d = Reshape (heads, one)
            channels = Shape <start: int = -1> (q)
            head_dim = Div (channels, heads_1d)
            split = Concat <axis: int = 0> (minus_one, heads_1d, head_dim)
            q_heads = Reshape (q, split)
            k_heads = Reshape (k_diff, split)
            own = Reshape (v_self, split)
            other = Reshape (v_cross, split)
            product = Mul (q_heads, k_heads)
            dot = ReduceSum <keepdims: int = 0> (product, minus_one)
            head_dim_float = CastLike (head_dim, q)
            root = Sqrt (head_dim_float)
            logit = Div (dot, root)
            share = Sigmoid (logit)
            weight = Unsqueeze (share, minus_one)
            difference = Sub (own, other)
            towards_own = Mul (weight, difference)
            mixed_heads = Add (other, towards_own)
            mixed = Reshape (mixed_heads, shape)
        }}
        """
    )


def attach_function(model: onnx.ModelProto) -> int:
    """Add the function to a model whose graph uses the op; return how many nodes use it.

    `torch.onnx.export` inlines functions, so the exporter leaves opaque nodes and this runs afterwards.
    """
    count = sum(node.domain == DOMAIN and node.op_type == OP_TYPE for node in model.graph.node)
    if count:
        opset = next(entry.version for entry in model.opset_import if entry.domain == "")
        model.functions.append(function_body(opset))
        if not any(entry.domain == DOMAIN for entry in model.opset_import):
            model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    return count
