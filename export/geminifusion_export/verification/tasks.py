"""How the outputs of each task's networks are compared with torch's, by the name of the task.

What needs torch is named as a `Part`, so that a machine that only serves can read the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from geminifusion_export.runtime_discovery import Candidate
from geminifusion_export.verification.comparison import Comparison, Reference, budget_for, compare, problems
from geminifusion_export.verification.detection import (
    DETECTION_COLUMNS,
    ReferenceFrame,
    compare_detections,
    detection_cells,
    detection_problems,
    golden_detections,
)
from geminifusion_export.verification.translation import (
    TRANSLATION_COLUMNS,
    compare_translations,
    translation_cells,
    translation_problems,
)
from geminifusion_model.tasks.registry import Part
from geminifusion_runtime.artifact import (
    ArtifactMetadata,
    BackendReport,
    DetectionReport,
    SegmentationReport,
    TranslationReport,
    require_segmentation,
)
from geminifusion_runtime.backends.protocol import BatchShape, GraphInputs, GraphOutputs
from geminifusion_runtime.golden_set import ReferenceBatch, read_golden_set
from geminifusion_runtime.task_names import DETECTION, SEGMENTATION, TRANSLATION


class TorchNetwork(Protocol):
    """The torch network that an artifact was made of."""

    def references(self) -> tuple[Sequence[Reference], BatchShape | None]:
        """Torch's outputs for made-up inputs of several shapes, and the one of them that the graph was traced with."""

    def on_data(self, data: Path, frames: int) -> Sequence[Reference]:
        """Torch's outputs for the first test frames of a data set of the task.

        Raises:
            VerificationError: the task compares on no data set.
        """

    @property
    def remarks(self) -> Sequence[str]:
        """What in the checkpoint is another by now than in the artifact, one sentence each."""


class TaskVerification(NamedTuple):
    """The comparison of one task.

    Attributes:
        golden: the frames of an artifact's golden set, with torch's outputs.
        reference: of items that ran together, their inputs and the reference's outputs.
        compare: runs references of one shape on a candidate; given the metadata and the shape that was traced.
        problems: what of a report is over budget, one sentence each.
        columns, cells: heads and figures of a report in tables.
        torch_network: opens a checkpoint for an artifact's metadata.
    """

    golden: Callable[[Path, ArtifactMetadata], Sequence[Reference]]
    reference: Callable[[Sequence[Any], GraphInputs, GraphOutputs], Reference]
    compare: Callable[[Sequence[Any], Candidate, ArtifactMetadata, BatchShape | None], Comparison]
    problems: Callable[[BackendReport, ArtifactMetadata], list[str]]
    columns: tuple[str, ...]
    cells: Callable[[BackendReport], list[str]]
    torch_network: Part[Callable[[Path, ArtifactMetadata], TorchNetwork]]


def _of_images(_: Sequence[Any], inputs: GraphInputs, outputs: GraphOutputs) -> ReferenceBatch:
    return ReferenceBatch(inputs, outputs)


def _compare_labels(
    expected: Sequence[ReferenceBatch], candidate: Candidate, metadata: ArtifactMetadata, traced: BatchShape | None
) -> Comparison:
    return compare(expected, candidate, num_classes=len(require_segmentation(metadata).classes), traced=traced)


def _label_problems(report: BackendReport, metadata: ArtifactMetadata) -> list[str]:
    assert isinstance(report, SegmentationReport), "of this task's own making"
    return problems(report, budget_for(report.precision, metadata.weights_stored_as))


def _label_cells(report: BackendReport) -> list[str]:
    assert isinstance(report, SegmentationReport), "of this task's own making"
    scores = ("-" if value is None else f"{value:.2f}" for value in (report.miou, report.reference_miou))
    errors = (
        f"{report.confidence_max_error:.2e}",
        f"{report.confidence_mean_error:.1e}",
        f"{report.gate_max_error:.1e}",
    )
    return [*errors, f"{100 * report.label_agreement:.4f} %", *scores]


_LABELS = TaskVerification(
    golden=read_golden_set,
    reference=_of_images,
    compare=_compare_labels,
    problems=_label_problems,
    columns=("confidence max", "mean", "gate max", "labels equal", "mIoU", "torch"),
    cells=_label_cells,
    torch_network=Part("geminifusion_export.verification.torch_reference:SegmentationNetwork"),
)
_IMAGES = TaskVerification(
    golden=read_golden_set,
    reference=_of_images,
    compare=compare_translations,
    problems=translation_problems,
    columns=TRANSLATION_COLUMNS,
    cells=translation_cells,
    torch_network=Part("geminifusion_export.translation.torch_reference:TranslationNetwork"),
)
_BOXES = TaskVerification(
    golden=golden_detections,
    reference=lambda items, _, outputs: ReferenceFrame(items[0], outputs),
    compare=compare_detections,
    problems=detection_problems,
    columns=DETECTION_COLUMNS,
    cells=detection_cells,
    torch_network=Part("geminifusion_export.detection.torch_reference:DetectionNetwork"),
)

VERIFICATIONS: Mapping[str, TaskVerification] = {
    SEGMENTATION: _LABELS,
    TRANSLATION: _IMAGES,
    DETECTION: _BOXES,
}
_OF_REPORTS: Mapping[type[BackendReport], TaskVerification] = {
    SegmentationReport: _LABELS,
    TranslationReport: _IMAGES,
    DetectionReport: _BOXES,
}


def verification_of(report: BackendReport) -> TaskVerification:
    """The comparison that a report is from."""
    return _OF_REPORTS[type(report)]
