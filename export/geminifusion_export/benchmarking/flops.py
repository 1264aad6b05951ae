"""Floating-point operations of one batch, counted from the graph.

Each multiply-add of a matrix product or convolution counts as two. Everything else a network does is a few per cent and
is left out, as is usual.
"""

from __future__ import annotations

import math
from pathlib import Path

import onnx

from geminifusion_runtime.backends.onnx_runtime import open_session
from geminifusion_runtime.backends.protocol import GraphInputs
from geminifusion_runtime.cpu_count import usable_cores

_COUNTED = frozenset({"Conv", "Gemm", "MatMul"})
_SUFFIX = ".counted_shape"


def count_flops(model: Path, inputs: GraphInputs) -> int:
    """FLOPs of one run of `model`.

    Sizes inside a graph with dynamic axes are known only to a runtime, so the graph runs once with the shapes of the
    counted operators' inputs and outputs as its only outputs.
    """
    graph = onnx.load(model)
    nodes = [node for node in graph.graph.node if node.op_type in _COUNTED]
    if not nodes:
        return 0
    names = sorted({name for node in nodes for name in (node.input[0], node.input[1], node.output[0])})
    graph.graph.node.extend(onnx.helper.make_node("Shape", [name], [f"{name}{_SUFFIX}"]) for name in names)
    del graph.graph.output[:]
    graph.graph.output.extend(
        onnx.helper.make_tensor_value_info(f"{name}{_SUFFIX}", onnx.TensorProto.INT64, [None]) for name in names
    )
    session = open_session(graph.SerializeToString(), threads=usable_cores(), optimized=False)
    found = session.run([f"{name}{_SUFFIX}" for name in names], dict(inputs))
    shapes = {name: tuple(map(int, shape)) for name, shape in zip(names, found, strict=True)}
    return sum(2 * _multiply_adds(node, shapes) for node in nodes)


def _multiply_adds(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Elements of the output times the length of the sum behind each."""
    taken, weight, given = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":
        return math.prod(given) * math.prod(weight[1:])  # weight: outputs, inputs of a group, height, width
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(given) * taken[0 if transposed else 1]
    return math.prod(given) * taken[-1]
