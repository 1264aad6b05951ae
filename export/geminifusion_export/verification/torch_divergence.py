"""Find the layer at which an exported graph first leaves torch itself.

Modules of the traced network and scopes of the graph have the same names. A module that serves both streams answers
twice, and what the exporter keeps of a scope is its own business, so each answer of a module is compared with every
value of its scope that has as many elements, and the nearest counts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geminifusion_export.error_text import first_line
from geminifusion_export.graph import TRACED_SHAPE, SegmentationGraph
from geminifusion_export.torch_reference import random_feeds
from geminifusion_export.verification.comparison import Feeds
from geminifusion_export.verification.divergence import full_scope_of, relative_error, values_of


def first_divergence(graph: SegmentationGraph, model: onnx.ModelProto | Path, feeds: Feeds, tolerance: float) -> str:
    """The first module, in torch's order, of which no value of its scope is within `tolerance` (relative).

    Returns:
        Its name and error, or that every layer agrees.
    """
    loaded = onnx.load(model) if isinstance(model, Path) else model
    scopes: dict[str, list[str]] = {}
    for node in loaded.graph.node:
        scopes.setdefault(full_scope_of(node), []).extend(node.output)
    answers = _module_answers(graph, feeds)
    wanted = [name for module, _ in answers for name in scopes.get(module, [])]
    values = values_of(loaded, list(dict.fromkeys(wanted)), feeds)
    for module, answer in answers:
        near = (values[name] for name in scopes.get(module, []) if name in values)
        errors = [relative_error(answer.ravel(), value.ravel()) for value in near if value.size == answer.size]
        if errors and not min(errors) <= tolerance:
            return f"{module.removeprefix('network.')} (relative error {min(errors):.1e} against torch)"
    return "no layer of its own: every module's answer agrees with torch"


def torch_locator(graph: SegmentationGraph, model: Path, tolerance: float = 1e-3) -> Callable[[object], str]:
    """A `locate` for `proof.prove`: `first_divergence` on a small input, or why it could not be found."""

    def locate(report: object) -> str:
        try:
            return first_divergence(graph, model, random_feeds(graph.task, TRACED_SHAPE), tolerance)
        except Exception as error:  # the answer explains another failure and must not take its place
            return f"no layer that could be named ({first_line(error)})"

    return locate


def _module_answers(graph: SegmentationGraph, feeds: Feeds) -> list[tuple[str, NDArray[np.floating]]]:
    """Every module that computes something itself and answers with one tensor, in the order they answered."""
    found: list[tuple[str, NDArray[np.floating]]] = []
    handles = []
    for name, module in graph.named_modules():
        if not any(True for _ in module.children()):
            handles.append(module.register_forward_hook(_recorder(name, found)))
    try:
        with torch.inference_mode():
            graph(*(torch.from_numpy(feeds[modality.name]) for modality in graph.task.modalities))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _recorder(name: str, found: list[tuple[str, NDArray[np.floating]]]) -> Callable[[nn.Module, object, object], None]:
    def record(module: nn.Module, given: object, answer: object) -> None:
        if isinstance(answer, Tensor) and answer.is_floating_point():
            found.append((name, answer.float().numpy()))

    return record
