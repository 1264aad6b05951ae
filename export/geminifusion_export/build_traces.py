"""Removal of what a tracer notes about the machine and the run: stack traces with local paths, names of its own.

It took a sixth of a file, told every reader where the network was exported and from which lines of source, and made
two exports of one checkpoint differ.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

LAYER_NAMES = "pkg.torch.onnx.name_scopes"  # modules of the network that a node comes from; `verify` names layers by it


def remove_build_traces(model: onnx.ModelProto) -> None:
    """Remove every note from a model, its functions and its subgraphs, but for the names of the network's layers."""
    _remove_notes(model)
    _of_graph(model.graph)
    for function in model.functions:
        _remove_notes(function)
        _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> None:
    _remove_notes(graph)
    for described in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        _remove_notes(described)
    _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        layers = [entry.value for entry in node.metadata_props if entry.key == LAYER_NAMES]
        _remove_notes(node)
        for value in layers:
            node.metadata_props.add(key=LAYER_NAMES, value=value)
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                _of_graph(graph)


def _remove_notes(
    described: onnx.ModelProto
    | onnx.GraphProto
    | onnx.FunctionProto
    | onnx.NodeProto
    | onnx.TensorProto
    | onnx.ValueInfoProto,
) -> None:
    described.ClearField("doc_string")
    described.ClearField("metadata_props")
