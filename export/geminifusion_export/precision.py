"""Float16 and bfloat16 graphs that compute in the half type, not only store their weights in it.

Three parts of a graph stay in float32: the inputs before the first learned layer, which are metres and 8-bit
intensities; the logits after the last one, whose order decides the labels; and between them LayerNorm, softmax and
other sums, which would lose what a half type cannot hold. Everything else runs in the half type, weights included, with
an explicit cast wherever a value passes from one to the other: no operator mixes types, as strongly typed runtimes
demand, and nothing is left to a runtime's own half-precision mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from geminifusion_export.errors import ExportError
from geminifusion_export.fusion_node import OP_TYPE
from geminifusion_export.storage import widen_stored_weights
from geminifusion_runtime.artifact import Precision

HALF_TYPES: dict[str, int] = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
_NUMPY_TYPES: dict[int, np.dtype[np.generic]] = {
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
_LARGEST: dict[int, float] = {TensorProto.FLOAT16: 65504.0, TensorProto.BFLOAT16: 3.3895313892515355e38}
_NAMES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
}
# The multiplications: nearly all of the arithmetic, so they decide what is "computed in".
_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul", OP_TYPE})
# Sums over many values, and functions whose results are lost in rounding.
_KEPT = frozenset(
    {
        "LayerNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "BatchNormalization",
        "Softmax",
        "LogSoftmax",
        "ReduceSum",
        "ReduceMean",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSumExp",
        "Exp",
        "Log",
        "Pow",
        "Sqrt",
        "Reciprocal",
    }
)
# Constants and changes of type: there is nothing to compute in a half type, and their users cast.
_SOURCES = frozenset({"Cast", "Constant", "ConstantOfShape", "Range", "CastLike"})
# Their outputs do not depend on the type of their inputs.
_TYPELESS = frozenset({"Shape", "Size"})
# Operators that only move values compute nothing.
_MOVES = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
# The first with bfloat16 convolutions; between `graph.OPSET` and it, no operator of our networks changed its meaning.
BFLOAT16_OPSET = 22
# Inputs that stay float32 whatever the operator computes in.
_FLOAT32_INPUTS = {"Resize": frozenset({1, 2})}


def to_precision(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Copy a graph so that it computes in `precision`; inputs and outputs keep their names, types and shapes.

    Args:
        model: a float32 graph from `export_onnx`, its weights stored as float32 or float16.

    Raises:
        ExportError: `precision` is not a floating type, the graph is not a float32 graph, a weight is too large for the
            type, or the types of the graph cannot be inferred.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if precision == "float32":
        require_precision(copy, "float32")
        return copy
    if precision not in HALF_TYPES:
        raise ExportError(f"a graph computes in float32, float16 or bfloat16, not {precision}; int8 is OpenVINO's")
    widen_stored_weights(copy)
    require_precision(copy, "float32")
    _Rewriter(copy, HALF_TYPES[precision]).rewrite()
    if precision == "bfloat16":
        _raise_opset(copy, BFLOAT16_OPSET)
    require_precision(copy, precision)
    return copy


def count_precisions(model: onnx.ModelProto) -> dict[str, int]:
    """Number of operators that compute in each floating type; those that only move or cast values do not count.

    Raises:
        ExportError: the types of the graph cannot be inferred.
    """
    types = _element_types(model)
    return dict(
        Counter(_NAMES[types[node.output[0]]] for node in _computing(model, types) if types[node.output[0]] in _NAMES)
    )


def require_precision(model: onnx.ModelProto, precision: Precision) -> None:
    """Reject a graph whose convolutions, matrix products and fusions do not all compute in `precision`.

    Raises:
        ExportError: naming how many do not, and the first of them.
    """
    types = _element_types(model)
    products = [node for node in _computing(model, types) if node.op_type in _PRODUCTS]
    others = [node for node in products if _NAMES.get(types[node.output[0]]) != precision]
    if others or not products:
        first = f", {others[0].op_type} {others[0].name} first ({_NAMES[types[others[0].output[0]]]})" if others else ""
        raise ExportError(
            f"{len(products) - len(others)} of {len(products)} products of the graph compute in {precision}{first}; "
            f"export the checkpoint with --precision {precision}"
        )


def _computing(model: onnx.ModelProto, types: dict[str, int]) -> Iterator[onnx.NodeProto]:
    """The operators that compute floating values."""
    for node in model.graph.node:
        if node.op_type not in _MOVES | _SOURCES and types.get(node.output[0]) in _NAMES:
            yield node


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every value."""
    # Shapes and types only: weights are not needed, and could not be passed beyond 2 GB.
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = bare.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.input.extend(model.graph.input)
    small = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) <= 1024]
    graph.initializer.extend(small)
    known = {tensor.name for tensor in small}
    graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name not in known
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"the types of the graph cannot be inferred ({error}); export the checkpoint again") from None
    values = (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def _raise_opset(model: onnx.ModelProto, least: int) -> None:
    imports = [*model.opset_import, *(entry for function in model.functions for entry in function.opset_import)]
    for entry in imports:
        if entry.domain == "":
            entry.version = max(entry.version, least)


class _Rewriter:
    """Converts the middle of one float32 graph to `half`, in place."""

    def __init__(self, model: onnx.ModelProto, half: int) -> None:
        self._graph = model.graph
        self._half = half
        self._types = _element_types(model)
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._converted: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def rewrite(self) -> None:
        """Convert nodes, cast between them and the others, and drop weights that nothing reads any more."""
        middle = self._middle()
        for index, node in enumerate(self._graph.node):
            if node.op_type not in _SOURCES | _TYPELESS:
                self._take_inputs(node, self._half if index in middle else TensorProto.FLOAT)
            self._nodes.append(node)
            if index in middle:
                moved = (name for name in node.output if self._types.get(name) == TensorProto.FLOAT)
                self._types.update(dict.fromkeys(moved, self._half))
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        read = {name for node in self._nodes for name in node.input}
        del self._graph.initializer[:]
        self._graph.initializer.extend(tensor for name, tensor in self._weights.items() if name in read)
        for value in self._graph.value_info:
            value.type.tensor_type.elem_type = self._types.get(value.name, value.type.tensor_type.elem_type)

    def _middle(self) -> set[int]:
        """Indices of the nodes to convert: between the first and the last product, and safe in a half type."""
        nodes = self._graph.node
        after: set[str] = set()  # values computed from a product
        for node in nodes:
            if node.op_type in _PRODUCTS or not after.isdisjoint(node.input):
                after.update(node.output)
        before: set[str] = set()  # values a product is computed from
        for node in reversed(nodes):
            if node.op_type in _PRODUCTS or not before.isdisjoint(node.output):
                before.update(node.input)
        outputs = {value.name for value in self._graph.output}
        return {
            index
            for index, node in enumerate(nodes)
            if node.op_type in _PRODUCTS
            or (
                node.op_type not in _KEPT | _SOURCES
                and any(self._types.get(name) == TensorProto.FLOAT for name in node.output)
                and not after.isdisjoint(node.input)
                and not before.isdisjoint(node.output)
                and outputs.isdisjoint(node.output)
            )
        }

    def _take_inputs(self, node: onnx.NodeProto, wanted: int) -> None:
        """Make a node read every floating input in the type it computes in."""
        fixed = _FLOAT32_INPUTS.get(node.op_type, frozenset())
        for index, name in enumerate(node.input):
            found = self._types.get(name)
            if index not in fixed and found in (TensorProto.FLOAT, self._half) and found != wanted:
                node.input[index] = self._as_type(name, wanted)

    def _as_type(self, name: str, wanted: int) -> str:
        """The value in another type: a rounded copy of a weight, or a cast; each is created once."""
        converted = f"{name}.{_NAMES[wanted]}"
        if (name, wanted) not in self._converted:
            self._converted[name, wanted] = converted
            self._types[converted] = wanted
            if name in self._weights:
                self._weights[converted] = numpy_helper.from_array(self._rounded(name), converted)
            else:
                self._nodes.append(
                    onnx.helper.make_node("Cast", [name], [converted], name=f"{converted}.cast", to=wanted)
                )
        return converted

    def _rounded(self, name: str) -> NDArray[np.generic]:
        weights = numpy_helper.to_array(self._weights[name])
        dtype = _NUMPY_TYPES[self._half]
        limit = _LARGEST[self._half]
        finite = np.abs(weights[np.isfinite(weights)])
        if finite.size and finite.max() > limit:
            raise ExportError(
                f"weight {name} reaches {finite.max():.3g}, beyond {_NAMES[self._half]}'s {limit:.3g}; "
                "export with --precision bfloat16 or float32"
            )
        return weights.astype(dtype)
