"""Compare an exported graph with the torch network it came from, shape by shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from geminifusion_export.artifact import BackendReport
from geminifusion_export.graph import TRACED_SHAPE, SegmentationGraph, example_inputs

# Untraced, odd and not divisible by 32 on purpose: a size baked into the graph shows at once.
VERIFIED_SHAPES: tuple[tuple[int, int, int], ...] = (
    TRACED_SHAPE,
    (1, 96, 128),
    (3, 70, 91),
    (1, 133, 101),
    (1, 480, 640),
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What an export may differ by before it fails.

    `confidence_error` and `gate_error` are absolute; `label_agreement` is the least share of equal pixels.
    """

    confidence_error: float = 1e-4
    gate_error: float = 1e-4
    label_agreement: float = 0.999


FLOAT32_WEIGHTS = Budget()
# Rounding weights to 11 bits moved the confidences of the bundled B0 by 2e-4; ten times that and more is suspect.
FLOAT16_WEIGHTS = Budget(confidence_error=5e-3, gate_error=1e-3, label_agreement=0.999)


class VerificationError(RuntimeError):
    """An exported graph differs from torch by more than its budget; the message lists where."""


def open_session(path: Path, threads: int = 0) -> ort.InferenceSession:
    """An ONNX Runtime CPU session; 0 threads leaves the choice to the runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare(
    graph: SegmentationGraph,
    session: ort.InferenceSession,
    inputs: Sequence[tuple[torch.Tensor, ...]],
) -> BackendReport:
    """Run both on every batch of inputs (all of one shape) and report the differences."""
    names = [modality.name for modality in graph.task.modalities]
    errors: dict[str, list[NDArray[np.float32]]] = {"confidence": [], "gate": []}
    equal = []
    for raw in inputs:
        with torch.inference_mode():
            labels, confidence, gate = graph(*raw)
        got_labels, got_confidence, got_gate = session.run(
            None, {name: tensor.numpy() for name, tensor in zip(names, raw, strict=True)}
        )
        errors["confidence"].append(np.abs(confidence.numpy() - got_confidence).ravel())
        errors["gate"].append(np.abs(gate.numpy() - got_gate).ravel())
        equal.append((labels.numpy() == got_labels).ravel())
    batch, height, width = inputs[0][0].shape[:3]
    confidence_error, gate_error = (np.concatenate(errors[name]) for name in ("confidence", "gate"))
    return BackendReport(
        backend="onnxruntime-cpu",
        batch=batch,
        height=height,
        width=width,
        traced=(batch, height, width) == TRACED_SHAPE,
        confidence_max_error=float(confidence_error.max()),
        confidence_mean_error=float(confidence_error.mean()),
        gate_max_error=float(gate_error.max()),
        gate_mean_error=float(gate_error.mean()),
        label_agreement=float(np.concatenate(equal).mean()),
    )


def verify_shapes(
    graph: SegmentationGraph, path: Path, shapes: Iterable[tuple[int, int, int]] = VERIFIED_SHAPES
) -> tuple[BackendReport, ...]:
    """Compare on random inputs at each shape."""
    session = open_session(path)
    return tuple(
        compare(graph, session, [example_inputs(graph.task, *shape, seed=index)]) for index, shape in enumerate(shapes)
    )


def require_within(reports: Iterable[BackendReport], budget: Budget) -> None:
    """Refuse reports over budget.

    Raises:
        VerificationError: naming every shape and figure that is over.
    """
    problems = []
    for report in reports:
        where = f"{report.backend} at {report.batch}x{report.height}x{report.width}"
        if not report.confidence_max_error <= budget.confidence_error:
            problems.append(f"{where}: confidence off by {report.confidence_max_error:.2e}")
        if not report.gate_max_error <= budget.gate_error:
            problems.append(f"{where}: gate off by {report.gate_max_error:.2e}")
        if not report.label_agreement >= budget.label_agreement:
            problems.append(f"{where}: {100 * report.label_agreement:.3f} % of the labels agree")
    if problems:
        raise VerificationError(f"the graph differs from torch beyond {budget}: " + "; ".join(problems))
