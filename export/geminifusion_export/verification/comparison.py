"""Comparing a backend's outputs with the torch network's, and holding the difference to a budget.

Nothing here imports torch: its outputs come as `ReferenceBatch`, so a machine that only serves can verify an artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.errors import VerificationError
from geminifusion_export.runtime_discovery import Candidate
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_runtime.artifact import BackendReport, Precision, SegmentationReport, segmentation_outputs
from geminifusion_runtime.backends.protocol import Backend, BatchShape, GraphInputs, GraphOutputs
from geminifusion_runtime.golden_set import MIN_LABEL_AGREEMENT, ReferenceBatch


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a backend may differ by before it fails.

    Args:
        confidence_error, gate_error: largest absolute difference of any pixel.
        confidence_mean_error, gate_mean_error: mean absolute difference.
        label_agreement: least share of equal labels, 0…1.
        miou_loss: largest loss of mIoU on frames with truth, in points. Where it can be measured it decides about the
            labels, and `label_agreement` is not checked.
    """

    confidence_error: float = 1e-4
    gate_error: float = 1e-4
    confidence_mean_error: float = 1e-4
    gate_mean_error: float = 1e-4
    label_agreement: float = MIN_LABEL_AGREEMENT["float32"]
    miou_loss: float | None = None


FLOAT32_WEIGHTS = Budget()
# Rounding weights to 11 bits moved the confidences of the bundled B0 by 2e-4; more than ten times that is suspect.
FLOAT16_WEIGHTS = Budget(confidence_error=5e-3, gate_error=1e-3, confidence_mean_error=1e-3, gate_mean_error=1e-3)

# The bundled B0 in bfloat16 (OpenVINO, 45 frames): confidence 2.7e-2 at most and 1.5e-3 on average, gate 8e-3 and
# 1.5e-3, 99.7 % of the labels, 0.02 mIoU. float16 rounds eight times finer. Both limits are about ten times that.
BFLOAT16 = Budget(
    confidence_error=0.3,
    gate_error=0.1,
    confidence_mean_error=1.5e-2,
    gate_mean_error=1.5e-2,
    label_agreement=MIN_LABEL_AGREEMENT["bfloat16"],
    miou_loss=0.5,
)
FLOAT16 = Budget(
    confidence_error=5e-2,
    gate_error=1e-2,
    confidence_mean_error=2e-3,
    gate_mean_error=2e-3,
    label_agreement=MIN_LABEL_AGREEMENT["float16"],
    miou_loss=0.5,
)
# Eight-bit steps move single pixels anywhere, so only averages are limited, and above all the score.
INT8 = Budget(
    confidence_error=1.0,
    gate_error=1.0,
    confidence_mean_error=0.1,
    gate_mean_error=0.1,
    label_agreement=MIN_LABEL_AGREEMENT["int8"],
    miou_loss=1.0,
)


def budget_for(precision: Precision, weights_stored_as: str = "float32") -> Budget:
    """The budget of a backend that computes in `precision`, from weights stored as float32 or float16."""
    if precision == "float32":
        return FLOAT16_WEIGHTS if weights_stored_as == "float16" else FLOAT32_WEIGHTS
    return {"float16": FLOAT16, "bfloat16": BFLOAT16, "int8": INT8}[precision]


def run_reference(reference: Backend, batches: Iterable[GraphInputs]) -> tuple[ReferenceBatch, ...]:
    """The reference's outputs, computed once for all candidates that are compared with it."""
    return tuple(ReferenceBatch(inputs, reference.run(inputs)) for inputs in batches)


class Reference(Protocol):
    """Inputs of one batch, and the reference's outputs for them; see `ReferenceBatch`."""

    @property
    def inputs(self) -> GraphInputs:
        """By graph input name."""

    @property
    def outputs(self) -> GraphOutputs:
        """By graph output name."""

    @property
    def shape(self) -> BatchShape:
        """Batch, height and width."""


class Comparison(NamedTuple):
    """A report, and the candidate's outputs it was made from, batch by batch."""

    report: BackendReport
    outputs: tuple[GraphOutputs, ...]


def compare(
    expected: Sequence[ReferenceBatch], candidate: Candidate, *, num_classes: int = 0, traced: BatchShape | None = None
) -> Comparison:
    """Run every batch (all of one shape) and report the differences.

    Args:
        num_classes: for mIoU over the batches that have a truth; 0 leaves mIoU out.
        traced: the shape the graph was traced with.

    Raises:
        VerificationError: the outputs have other shapes than the reference's.
    """
    found = tuple(candidate.backend.run(batch.inputs) for batch in expected)
    for batch, outputs in zip(expected, found, strict=True):
        _require_same_shapes(batch, outputs, candidate)
    pairs = [(batch.outputs, outputs) for batch, outputs in zip(expected, found, strict=True)]
    confidence = np.concatenate([_difference(a["confidence"], b["confidence"]) for a, b in pairs])
    gate = np.concatenate([_difference(a[name], b[name]) for a, b in pairs for name in _attention_maps(a, b)])
    equal = np.concatenate([(a["labels"] == b["labels"]).ravel() for a, b in pairs])
    truths = [batch.truth for batch in expected]
    num_images, height, width = expected[0].shape
    report = SegmentationReport(
        backend=candidate.name,
        batch=num_images,
        height=height,
        width=width,
        traced=expected[0].shape == traced,
        confidence_max_error=float(confidence.max()),
        confidence_mean_error=float(confidence.mean()),
        gate_max_error=float(gate.max()),
        gate_mean_error=float(gate.mean()),
        label_agreement=float(equal.mean()),
        precision=candidate.precision,
        miou=_miou(truths, [outputs["labels"] for outputs in found], num_classes),
        reference_miou=_miou(truths, [batch.outputs["labels"] for batch in expected], num_classes),
    )
    return Comparison(report, found)


def _difference(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).ravel()


def _attention_maps(a: GraphOutputs, b: GraphOutputs) -> list[str]:
    """The gate, and where both outputs have them the weights of the modalities, which are held to the same."""
    return [name for name in ("gate", "modality_weights") if name in a and name in b]


def _require_same_shapes(batch: ReferenceBatch, outputs: GraphOutputs, candidate: Candidate) -> None:
    wrong = [
        f"{each.name} is {found}, expected {wanted}"
        for each in segmentation_outputs(len(batch.inputs))
        if not each.optional and (found := outputs[each.name].shape) != (wanted := batch.outputs[each.name].shape)
    ]
    if wrong:
        raise VerificationError(f"{candidate.name} at {describe_shape(batch.shape)}: {'; '.join(wrong)}")


def _miou(
    truths: Sequence[NDArray[np.uint8] | None], labels: Sequence[NDArray[np.generic]], num_classes: int
) -> float | None:
    """Percent over all batches with a truth; None where no pixel is labeled."""
    matrix = ConfusionMatrix(num_classes)
    for truth, predicted in zip(truths, labels, strict=True):
        if truth is not None and num_classes:
            matrix.add(truth, np.asarray(predicted, np.uint8))
    return matrix.miou() if matrix.counts.any() else None


def problems(report: SegmentationReport, budget: Budget) -> list[str]:
    """What is over budget, one sentence each; empty if nothing is. NaN is over every budget."""
    where = f"{report.backend} ({report.precision}) at {describe_shape((report.batch, report.height, report.width))}"
    limits = (
        ("confidence off by", report.confidence_max_error, budget.confidence_error),
        ("gate off by", report.gate_max_error, budget.gate_error),
        ("confidence off on average by", report.confidence_mean_error, budget.confidence_mean_error),
        ("gate off on average by", report.gate_mean_error, budget.gate_mean_error),
    )
    found = [f"{where}: {words} {error:.2e} of {limit:.0e}" for words, error, limit in limits if not error <= limit]
    if budget.miou_loss is not None and report.miou is not None and report.reference_miou is not None:
        loss = report.reference_miou - report.miou
        if not loss <= budget.miou_loss:
            found.append(
                f"{where}: mIoU {report.miou:.2f}, torch {report.reference_miou:.2f}; "
                f"a loss of {budget.miou_loss} is allowed"
            )
    elif not report.label_agreement >= budget.label_agreement:
        found.append(
            f"{where}: {100 * report.label_agreement:.3f} % of the labels agree of {100 * budget.label_agreement:g} %"
        )
    if found and report.worst_layer is not None:
        found[-1] += f" (departs most at {report.worst_layer})"
    return found


def describe_shape(shape: tuple[int, ...]) -> str:
    """A shape in words: `1x480x640`."""
    return "x".join(map(str, shape))
