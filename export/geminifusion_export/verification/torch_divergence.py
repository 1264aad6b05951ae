"""Finding the layer at which an exported graph first departs from torch itself.

Modules of the traced network and scopes of the graph have the same names. A module that serves both streams runs twice,
and the exporter may keep any values of a scope, so each output of a module is compared with every value of its scope
that has as many elements, and the nearest counts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geminifusion_export.errors import first_line
from geminifusion_export.graph import TRACED_SHAPE, SegmentationGraph, random_batch
from geminifusion_export.verification.divergence import full_scope_of, relative_error, values_of
from geminifusion_runtime.backends.protocol import GraphInputs


def first_divergence(
    graph: SegmentationGraph, model: onnx.ModelProto | Path, inputs: GraphInputs, tolerance: float
) -> str:
    """The first module, in torch's order, of which no value of its scope is within `tolerance` (relative).

    Returns:
        Its name and error, or that every layer agrees.
    """
    loaded = onnx.load(model) if isinstance(model, Path) else model
    scopes: dict[str, list[str]] = {}
    for node in loaded.graph.node:
        scopes.setdefault(full_scope_of(node), []).extend(node.output)
    outputs = _module_outputs(graph, inputs)
    wanted = [name for module, _ in outputs for name in scopes.get(module, [])]
    values = values_of(loaded, list(dict.fromkeys(wanted)), inputs)
    for module, output in outputs:
        near = (values[name] for name in scopes.get(module, []) if name in values)
        errors = [relative_error(output.ravel(), value.ravel()) for value in near if value.size == output.size]
        if errors and not min(errors) <= tolerance:
            return f"{module.removeprefix('network.')} (relative error {min(errors):.1e} against torch)"
    return "no layer of its own: the output of every module agrees with torch"


def torch_locator(graph: SegmentationGraph, model: Path, tolerance: float = 1e-3) -> Callable[[object], str]:
    """A `locate` for `verify_export`: `first_divergence` on a small input, or why it could not be found."""

    def locate(report: object) -> str:
        try:
            return first_divergence(graph, model, random_batch(graph.task, TRACED_SHAPE), tolerance)
        except Exception as error:  # this text explains another failure and must not replace it
            return f"no layer that could be named ({first_line(error)})"

    return locate


def _module_outputs(graph: SegmentationGraph, inputs: GraphInputs) -> list[tuple[str, NDArray[np.floating]]]:
    """Outputs of every module that has no children and returns one tensor, in the order they were computed."""
    found: list[tuple[str, NDArray[np.floating]]] = []
    handles = []
    for name, module in graph.named_modules():
        if not any(True for _ in module.children()):
            handles.append(module.register_forward_hook(_recorder(name, found)))
    try:
        with torch.inference_mode():
            graph(*(torch.from_numpy(inputs[modality.name]) for modality in graph.task.modalities))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _recorder(name: str, found: list[tuple[str, NDArray[np.floating]]]) -> Callable[[nn.Module, object, object], None]:
    def record(module: nn.Module, given: object, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            found.append((name, output.float().numpy()))

    return record
