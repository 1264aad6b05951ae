"""Finding the layer at which an exported graph departs from the graph it should equal.

Both run with their intermediate values exposed, and the values are compared in the order of computation. Errors travel
down a network, so the largest error says nothing: the layer at fault is the one whose output is much worse than its
inputs, that is, whose error exceeds that of its inputs by most.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from geminifusion_export.build_traces import LAYER_NAMES
from geminifusion_export.errors import first_line
from geminifusion_runtime.backends.onnx_runtime import open_session
from geminifusion_runtime.backends.protocol import GraphInputs
from geminifusion_runtime.cpu_count import usable_cores

# Exposed in one run: all values of a B3 at once, at camera size, would take gigabytes.
_VALUES_PER_RUN = 512
Values = Mapping[str, NDArray[np.floating]]

_FLOATS = (np.float16, np.float32, np.float64)
# Operators that only move values cannot make them wrong, and are not worth a comparison.
_MOVES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Flatten"})


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Where a graph departs. Errors are relative: root mean square of the difference, divided by that of the value.

    Args:
        layer: the module in the network, e.g. `encoder.stages.2.blocks.0.fc1`; the node's own name outside any module.
        node, op_type: the node in the graph.
        error: of its output.
        input_error: the largest error of its inputs.
    """

    layer: str
    node: str
    op_type: str
    error: float
    input_error: float

    def __str__(self) -> str:
        return (
            f"{self.layer} ({self.op_type} {self.node}: relative error {self.error:.1e}, its inputs' "
            f"{self.input_error:.1e})"
        )


def find_divergence(
    reference: onnx.ModelProto | Path,
    candidate: onnx.ModelProto | Path,
    inputs: GraphInputs,
    tolerance: float = 1e-5,
    *,
    probe: Callable[[Sequence[str]], Values] | None = None,
) -> Divergence | None:
    """The node that adds most error to the candidate, or None if no node adds more than `tolerance`.

    Values are matched by name, so both graphs must come from one trace; the candidate may compute in another type.

    Args:
        reference: the float32 graph.
        candidate: the graph that should equal it.
        inputs: one batch for both.
        tolerance: relative error that rounding alone may add.
        probe: gives the candidate's values by name in another runtime, which may have fused some of them away; by
            default they are those of ONNX Runtime.

    Raises:
        Exception: from ONNX Runtime, if one of the graphs does not run here at all.
    """
    ours, theirs = (_loaded(source) for source in (reference, candidate))
    nodes = [node for node in theirs.graph.node if node.op_type not in _MOVES]
    named = {name for node in ours.graph.node for name in node.output if name}
    names = [name for node in nodes for name in node.output if name in named]
    errors: dict[str, float] = {}
    lost: set[str] = set()
    for some in _chunks(names):
        expected = values_of(ours, some, inputs)
        found = values_of(theirs, some, inputs) if probe is None else probe(some)
        lost |= expected.keys() - found.keys()
        errors |= {name: relative_error(expected[name], found[name]) for name in expected.keys() & found.keys()}
    errors = _propagated(theirs, errors, lost)
    worst: Divergence | None = None
    for node in nodes:
        error = max((errors.get(name, 0.0) for name in node.output), default=0.0)
        given = max((errors.get(name, 0.0) for name in node.input), default=0.0)
        if error - given > (tolerance if worst is None else worst.error - worst.input_error):
            worst = Divergence(
                layer=layer_of(node), node=node.name, op_type=node.op_type, error=error, input_error=given
            )
    return worst


def layer_of(node: onnx.NodeProto) -> str:
    """The module a node comes from, by its name in the checkpoint; the node's name where none was recorded."""
    return full_scope_of(node).removeprefix("network.") or node.name


def full_scope_of(node: onnx.NodeProto) -> str:
    """The module a node comes from, by its full name in the traced network; empty where none was recorded."""
    recorded = next((entry.value for entry in node.metadata_props if entry.key == LAYER_NAMES), None)
    if recorded is None:
        return ""
    try:
        scopes = ast.literal_eval(recorded)
    except (SyntaxError, ValueError):
        return ""
    # The last entry is the operator itself.
    return next((scope for scope in reversed(scopes[:-1]) if scope and not scope.startswith("_")), "")


def _loaded(source: onnx.ModelProto | Path) -> onnx.ModelProto:
    return onnx.load(source) if isinstance(source, Path) else source


def _chunks(names: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while some := list(islice(remaining, _VALUES_PER_RUN)):
        yield some


def values_of(model: onnx.ModelProto, names: Sequence[str], inputs: GraphInputs) -> dict[str, NDArray[np.floating]]:
    """Float values of a graph by name; others cannot be told apart from shapes and indices and are left out."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(exposed.SerializeToString(), threads=usable_cores(), optimized=False)
    found = dict(zip(names, session.run(list(names), dict(inputs)), strict=True))
    return {name: value for name, value in found.items() if value.dtype in _FLOATS}


def relative_error(expected: NDArray[np.floating], found: NDArray[np.floating] | None) -> float:
    """Root mean square of the difference, divided by that of `expected`; infinite for another shape or for NaN."""
    if found is None or expected.shape != found.shape:
        return float("inf")
    ours, theirs = expected.astype(np.float64), found.astype(np.float64)
    if np.array_equal(ours, theirs, equal_nan=True):
        return 0.0
    scale = float(np.sqrt(np.mean(np.square(ours))))
    error = float(np.sqrt(np.mean(np.square(ours - theirs))))
    return error / max(scale, 1e-12) if np.isfinite(error) else float("inf")


def _propagated(model: onnx.ModelProto, errors: Mapping[str, float], lost: Collection[str] = ()) -> dict[str, float]:
    """Errors by name, in which outputs of moves, and values a runtime has `lost`, have the error of their inputs."""
    known = dict(errors)
    for node in model.graph.node:
        if node.op_type in _MOVES:
            known |= dict.fromkeys(node.output, known.get(node.input[0], 0.0))
        elif any(name in lost for name in node.output):
            known |= dict.fromkeys(node.output, max((known.get(name, 0.0) for name in node.input), default=0.0))
    return known


def describe_divergence(
    reference: onnx.ModelProto | Path,
    candidate: onnx.ModelProto | Path,
    inputs: GraphInputs,
    probe: Callable[[Sequence[str]], Values] | None = None,
) -> str | None:
    """`find_divergence` in words; None if no node is at fault, and the reason if the graphs cannot be compared."""
    try:
        found = find_divergence(reference, candidate, inputs, probe=probe)
    except Exception as error:  # this text explains another failure and must not replace it
        return f"no layer could be named ({first_line(error)})"
    return None if found is None else str(found)
