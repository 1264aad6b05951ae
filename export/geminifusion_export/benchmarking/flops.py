"""Floating-point operations of one batch, counted from the graph: two for each multiply-add of a matrix product or
convolution. Everything else a network does is a few per cent and is left out, as is usual.
"""

from __future__ import annotations

import math
from pathlib import Path

import onnx
import onnxruntime as ort

from geminifusion_export.verification.comparison import Feeds

_COUNTED = frozenset({"Conv", "Gemm", "MatMul"})
_SUFFIX = ".counted_shape"


def count_flops(model: Path, feeds: Feeds) -> int:
    """FLOPs of one run of `model` on `feeds`.

    Sizes inside a graph with dynamic axes are known only to a runtime, so the graph is run once with the shapes, and
    nothing else, of what the counted operators take and give.
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
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run([f"{name}{_SUFFIX}" for name in names], dict(feeds))
    shapes = {name: tuple(map(int, shape)) for name, shape in zip(names, found, strict=True)}
    return sum(2 * _multiply_adds(node, shapes) for node in nodes)


def _multiply_adds(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Elements of the answer times the length of the sum behind each."""
    taken, weight, given = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":
        return math.prod(given) * math.prod(weight[1:])  # weight: outputs, inputs of a group, height, width
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(given) * taken[0 if transposed else 1]
    return math.prod(given) * taken[-1]
