"""Find the layer at which an exported graph leaves the one it should equal.

Both are run with their intermediate values exposed and compared in the order of computation. Errors travel down a
network, so the largest one says nothing: the layer to blame is the one whose own answer is much worse than what it was
given, i.e. whose error exceeds that of its inputs by most.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from geminifusion_export.error_text import first_line
from geminifusion_export.verification.comparison import Feeds

# So many values are exposed in one run: all of a B3's at once, at camera size, would take gigabytes.
_VALUES_PER_RUN = 512
_SCOPES = "pkg.torch.onnx.name_scopes"
Values = Mapping[str, NDArray[np.floating]]

_FLOATS = (np.float16, np.float32, np.float64)
# What only moves values cannot make them wrong, and is not worth a comparison.
_MOVES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Flatten"})


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Where a graph departs. Errors are relative: root mean square of the difference by that of the value.

    Args:
        layer: the module in the network, e.g. `encoder.stages.2.blocks.0.fc1`; the node's own name outside of any.
        node, op_type: the node in the graph.
        error: of its answer.
        input_error: the largest of its inputs'.
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
    feeds: Feeds,
    tolerance: float = 1e-5,
    *,
    probe: Callable[[Sequence[str]], Values] | None = None,
) -> Divergence | None:
    """The node that adds most error to the candidate, or None if no node adds more than `tolerance`.

    Values are matched by name, so both graphs must come from one trace; the candidate may compute in another type.

    Args:
        reference: the float32 graph.
        candidate: what should equal it.
        feeds: one batch for both.
        tolerance: relative error that rounding alone may add.
        probe: the candidate's values by name in another runtime, which may not know some of them any more; ONNX
            Runtime's without it.

    Raises:
        onnxruntime errors: one of the graphs does not run here at all.
    """
    ours, theirs = (_loaded(source) for source in (reference, candidate))
    nodes = [node for node in theirs.graph.node if node.op_type not in _MOVES]
    named = {name for node in ours.graph.node for name in node.output if name}
    names = [name for node in nodes for name in node.output if name in named]
    errors: dict[str, float] = {}
    lost: set[str] = set()
    for some in _chunks(names):
        expected = values_of(ours, some, feeds)
        found = values_of(theirs, some, feeds) if probe is None else probe(some)
        lost |= expected.keys() - found.keys()
        errors |= {name: relative_error(expected[name], found[name]) for name in expected.keys() & found.keys()}
    errors = _carried_on(theirs, errors, lost)
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
    """The module a node comes from, as users know it; the node's name where the exporter recorded none."""
    return full_scope_of(node).removeprefix("network.") or node.name


def full_scope_of(node: onnx.NodeProto) -> str:
    """The module a node comes from, by its full name in the traced network; empty where none was recorded."""
    recorded = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), None)
    if recorded is None:
        return ""
    try:
        scopes = ast.literal_eval(recorded)
    except (SyntaxError, ValueError):
        return ""
    # the last entry is the operator itself
    return next((scope for scope in reversed(scopes[:-1]) if scope and not scope.startswith("_")), "")


def _loaded(source: onnx.ModelProto | Path) -> onnx.ModelProto:
    return onnx.load(source) if isinstance(source, Path) else source


def _chunks(names: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while some := list(islice(remaining, _VALUES_PER_RUN)):
        yield some


def values_of(model: onnx.ModelProto, names: Sequence[str], feeds: Feeds) -> dict[str, NDArray[np.floating]]:
    """The float values of these names; others cannot be told apart from shapes and indices and are left out."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    # as written, so that every value is the one its node computes, and a session is quickly made
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = dict(zip(names, session.run(list(names), dict(feeds)), strict=True))
    return {name: value for name, value in found.items() if value.dtype in _FLOATS}


def relative_error(expected: NDArray[np.floating], found: NDArray[np.floating] | None) -> float:
    """Root mean square of the difference by that of what is expected; infinite for another shape, or no number."""
    if found is None or expected.shape != found.shape:
        return float("inf")
    ours, theirs = expected.astype(np.float64), found.astype(np.float64)
    if np.array_equal(ours, theirs, equal_nan=True):
        return 0.0
    scale = float(np.sqrt(np.mean(np.square(ours))))
    error = float(np.sqrt(np.mean(np.square(ours - theirs))))
    return error / max(scale, 1e-12) if np.isfinite(error) else float("inf")


def _carried_on(model: onnx.ModelProto, errors: Mapping[str, float], lost: Collection[str] = ()) -> dict[str, float]:
    """Give what a move puts out, and what a runtime has `lost`, the error of what it was given."""
    known = dict(errors)
    for node in model.graph.node:
        if node.op_type in _MOVES:
            known |= dict.fromkeys(node.output, known.get(node.input[0], 0.0))
        elif any(name in lost for name in node.output):
            known |= dict.fromkeys(node.output, max((known.get(name, 0.0) for name in node.input), default=0.0))
    return known


def blame(
    reference: onnx.ModelProto | Path,
    candidate: onnx.ModelProto | Path,
    feeds: Feeds,
    probe: Callable[[Sequence[str]], Values] | None = None,
) -> str | None:
    """`find_divergence` in words; None if no node is to blame, and why if the graphs cannot be compared."""
    try:
        found = find_divergence(reference, candidate, feeds, probe=probe)
    except Exception as error:  # the answer explains another failure and must not take its place
        return f"no layer could be named ({first_line(error)})"
    return None if found is None else str(found)
