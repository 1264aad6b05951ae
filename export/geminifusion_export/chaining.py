"""Several exported graphs as one, each of whose parts takes what earlier ones gave.

torch.export writes every inner size as a formula of the input's sizes. Behind a resize that formula no longer
simplifies, and a network of a few hundred operators takes minutes to trace; traced from the resize on, it takes
seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx


def chain(parts: Sequence[onnx.ModelProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """Join graphs by the names of their inputs and outputs.

    Args:
        parts: in the order of computation, of one opset. Inputs and outputs are named alike where they are the same
            values; any other name belongs to its part.
        inputs: the whole graph's, each an input of some part.
        outputs: the whole graph's, each an output of some part.

    Returns:
        The joined model; the inner shapes, whose symbols belong to one part each, are left out.

    Raises:
        ValueError: a part's input comes from nowhere, or a part holds control flow.
    """
    values: dict[str, onnx.ValueInfoProto] = {}
    produced: set[str] = set(inputs)
    whole = onnx.ModelProto()
    whole.CopyFrom(parts[0])
    del whole.graph.node[:], whole.graph.initializer[:], whole.graph.input[:], whole.graph.output[:]
    del whole.graph.value_info[:]
    for number, part in enumerate(parts):
        graph = part.graph
        if missing := [value.name for value in graph.input if value.name not in produced]:
            raise ValueError(f"part {number} takes {', '.join(missing)}, which no earlier part gives")
        shared = {value.name: value for value in (*graph.input, *graph.output)}
        values |= {name: value for name, value in shared.items() if name not in values}
        produced |= {value.name for value in graph.output}
        for node in graph.node:
            if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
                raise ValueError(f"part {number} holds control flow ({node.op_type}), whose names cannot be told apart")
            joined = whole.graph.node.add()
            joined.CopyFrom(node)
            joined.name = f"part{number}.{node.name}"
            joined.input[:] = [_name(name, number, shared) for name in node.input]
            joined.output[:] = [_name(name, number, shared) for name in node.output]
        for initializer in graph.initializer:
            copied = whole.graph.initializer.add()
            copied.CopyFrom(initializer)
            copied.name = _name(initializer.name, number, shared)
        known = {entry.domain for entry in whole.opset_import}
        whole.opset_import.extend(entry for entry in part.opset_import if entry.domain not in known)
    whole.graph.input.extend(values[name] for name in inputs)
    whole.graph.output.extend(values[name] for name in outputs)
    return whole


def _name(name: str, part: int, shared: dict[str, onnx.ValueInfoProto]) -> str:
    return name if not name or name in shared else f"part{part}.{name}"
