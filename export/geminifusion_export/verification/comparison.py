"""Compare what a runtime answers with what the torch network answers, and hold the difference to a budget.

Torch is one of the runtimes (`torch_reference`), so nothing here imports it: a machine that only serves can repeat a
verification against recorded answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from geminifusion_export.runtimes import Answers, Runtime
from geminifusion_runtime.artifact import BackendReport, EngineRequirements, Precision

Feeds = Mapping[str, NDArray[np.generic]]
Shape = tuple[int, int, int]  # batch, height, width


class Expected(NamedTuple):
    """One batch and the reference's answers to it; `truth` is `B H W` uint8 where labels are known."""

    feeds: Feeds
    answers: Answers
    truth: NDArray[np.uint8] | None = None

    @property
    def shape(self) -> Shape:
        """Batch, height and width of the batch."""
        batch, height, width = self.answers.labels.shape
        return batch, height, width


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a runtime may differ by before it fails.

    Args:
        confidence_error, gate_error: largest absolute difference of any pixel.
        confidence_mean_error, gate_mean_error: mean absolute difference.
        label_agreement: least share of equal pixels, 0…1.
        miou_loss: largest loss of mIoU on frames with truth, in points; where it is measured it decides about the
            labels, and `label_agreement` is not asked for.
    """

    confidence_error: float = 1e-4
    gate_error: float = 1e-4
    confidence_mean_error: float = 1e-4
    gate_mean_error: float = 1e-4
    label_agreement: float = 0.999
    miou_loss: float | None = None


FLOAT32_WEIGHTS = Budget()
# Rounding weights to 11 bits moved the confidences of the bundled B0 by 2e-4; ten times that and more is suspect.
FLOAT16_WEIGHTS = Budget(confidence_error=5e-3, gate_error=1e-3, confidence_mean_error=1e-3, gate_mean_error=1e-3)

# The bundled B0 in bfloat16 (OpenVINO, 45 frames): confidence 2.7e-2 at most and 1.5e-3 on average, gate 8e-3 and
# 1.5e-3, 99.7 % of the labels, 0.02 mIoU. float16 rounds eight times finer. Both limits are about ten times that.
BFLOAT16 = Budget(
    confidence_error=0.3,
    gate_error=0.1,
    confidence_mean_error=1.5e-2,
    gate_mean_error=1.5e-2,
    label_agreement=0.97,
    miou_loss=0.5,
)
FLOAT16 = Budget(
    confidence_error=5e-2,
    gate_error=1e-2,
    confidence_mean_error=2e-3,
    gate_mean_error=2e-3,
    label_agreement=0.995,
    miou_loss=0.5,
)
# Eight-bit steps move single pixels anywhere, so only averages are held, and above all the score.
INT8 = Budget(
    confidence_error=1.0,
    gate_error=1.0,
    confidence_mean_error=0.1,
    gate_mean_error=0.1,
    label_agreement=0.85,
    miou_loss=1.0,
)


class VerificationError(RuntimeError):
    """An exported network differs from torch by more than its budget; the message lists where."""


def budget_for(precision: Precision, weights_stored_as: str = "float32") -> Budget:
    """What a runtime that computes in `precision`, from weights stored in that type, may differ by."""
    if precision == "float32":
        return FLOAT16_WEIGHTS if weights_stored_as == "float16" else FLOAT32_WEIGHTS
    return {"float16": FLOAT16, "bfloat16": BFLOAT16, "int8": INT8}[precision]


def open_session(path: Path, threads: int = 0) -> ort.InferenceSession:
    """An ONNX Runtime CPU session; 0 threads leaves the choice to the runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def expect(reference: Runtime, batches: Iterable[Feeds]) -> tuple[Expected, ...]:
    """The reference's answers, computed once however many runtimes are compared with it."""
    return tuple(Expected(feeds, reference.run(feeds)) for feeds in batches)


class Comparison(NamedTuple):
    """A report, and the answers it was made from, batch by batch."""

    report: BackendReport
    answers: tuple[Answers, ...]


def compare(
    expected: Sequence[Expected], runtime: Runtime, *, num_classes: int = 0, traced: Shape | None = None
) -> Comparison:
    """Run every batch (all of one shape) and report the differences.

    Args:
        num_classes: for mIoU over the batches that have a truth; 0 leaves mIoU out.
        traced: the shape the graph was traced with.

    Raises:
        VerificationError: the runtime's answers have other shapes than the reference's.
    """
    got = tuple(runtime.run(entry.feeds) for entry in expected)
    for entry, answers in zip(expected, got, strict=True):
        wrong = [
            f"{name} is {found.shape}, expected {wanted.shape}"
            for name in Answers._fields
            if (found := getattr(answers, name)).shape != (wanted := getattr(entry.answers, name)).shape
        ]
        if wrong:
            raise VerificationError(f"{runtime.name} at {'x'.join(map(str, entry.shape))}: {'; '.join(wrong)}")
    pairs = [(entry.answers, answers) for entry, answers in zip(expected, got, strict=True)]
    confidence = np.concatenate([np.abs(a.confidence - b.confidence).ravel() for a, b in pairs])
    gate = np.concatenate([np.abs(a.gate - b.gate).ravel() for a, b in pairs])
    equal = np.concatenate([(a.labels == b.labels).ravel() for a, b in pairs])
    labelled = [(entry.truth, *pair) for entry, pair in zip(expected, pairs, strict=True) if entry.truth is not None]
    scored = any((truth < num_classes).any() for truth, _, _ in labelled)
    batch, height, width = expected[0].shape
    report = BackendReport(
        backend=runtime.name,
        batch=batch,
        height=height,
        width=width,
        traced=expected[0].shape == traced,
        confidence_max_error=float(confidence.max()),
        confidence_mean_error=float(confidence.mean()),
        gate_max_error=float(gate.max()),
        gate_mean_error=float(gate.mean()),
        label_agreement=float(equal.mean()),
        precision=runtime.precision,
        miou=mean_iou([(truth, found.labels) for truth, _, found in labelled], num_classes) if scored else None,
        reference_miou=mean_iou([(truth, wanted.labels) for truth, wanted, _ in labelled], num_classes)
        if scored
        else None,
    )
    return Comparison(report, got)


def mean_iou(pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]], num_classes: int) -> float:
    """Percent, over (truth, prediction) pairs counted together; classes found in neither are left out.

    Pixels whose truth is no class (the ignore value) do not count. The model's `ConfusionMatrix` says the same, but it
    is not installed where an artifact is only served.
    """
    counts = np.zeros((num_classes, num_classes), np.int64)
    for truth, predicted in pairs:
        known = truth < num_classes
        index = truth[known].astype(np.int64) * num_classes + predicted[known]
        counts += np.bincount(index, minlength=num_classes**2).reshape(counts.shape)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    found = union > 0
    return float(100.0 * (counts.diagonal()[found] / union[found]).mean()) if found.any() else float("nan")


def fits_engine(shape: Shape, engine: EngineRequirements | None) -> bool:
    """Whether some profile of the engine takes this shape; true without an engine."""
    return engine is None or any(
        all(low <= side <= high for low, side, high in zip(profile.minimum, shape, profile.maximum, strict=True))
        for profile in engine.profiles
    )


def problems(report: BackendReport, budget: Budget) -> list[str]:
    """What is over budget, one sentence each; empty if nothing is. NaN is over every budget."""
    where = f"{report.backend} ({report.precision}) at {report.batch}x{report.height}x{report.width}"
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


def require_within(
    reports: Iterable[BackendReport],
    budget: Budget | None = None,
    *,
    weights_stored_as: str = "float32",
    locate: Callable[[BackendReport], str | None] | None = None,
) -> None:
    """Refuse reports over budget.

    Args:
        budget: for every report; by default each is held to that of its precision.
        locate: finds the layer to blame for a report; called once, for the first report that is over.

    Raises:
        VerificationError: naming every shape and figure that is over, and the layer if it could be found.
    """
    over = [
        (report, found)
        for report in reports
        if (found := problems(report, budget or budget_for(report.precision, weights_stored_as)))
    ]
    if not over:
        return
    layer = locate(over[0][0]) if locate is not None else None
    blame = "" if layer is None else f"; it departs most at {layer}"
    raise VerificationError(
        "the exported network differs from torch beyond its budget: "
        + "; ".join(sentence for _, found in over for sentence in found)
        + blame
    )
