"""How the outputs of each task's networks are compared with torch's, by the name of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from geminifusion_export.runtime_discovery import Candidate
from geminifusion_export.verification.comparison import Comparison, budget_for, compare, problems
from geminifusion_export.verification.translation import (
    TRANSLATION_COLUMNS,
    compare_translations,
    translation_cells,
    translation_problems,
)
from geminifusion_runtime.artifact import (
    ArtifactMetadata,
    BackendReport,
    SegmentationReport,
    TranslationReport,
    require_segmentation,
)
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.golden_set import ReferenceBatch


class TaskVerification(NamedTuple):
    """The comparison of one task.

    Attributes:
        compare: runs batches of one shape on a candidate; given the metadata and the shape that was traced.
        problems: what of a report is over budget, one sentence each.
        columns, cells: heads and figures of a report in tables.
    """

    compare: Callable[[Sequence[ReferenceBatch], Candidate, ArtifactMetadata, BatchShape | None], Comparison]
    problems: Callable[[BackendReport, ArtifactMetadata], list[str]]
    columns: tuple[str, ...]
    cells: Callable[[BackendReport], list[str]]


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
    _compare_labels,
    _label_problems,
    ("confidence max", "mean", "gate max", "labels equal", "mIoU", "torch"),
    _label_cells,
)
_IMAGES = TaskVerification(compare_translations, translation_problems, TRANSLATION_COLUMNS, translation_cells)

VERIFICATIONS: Mapping[str, TaskVerification] = {
    "semantic-segmentation": _LABELS,
    "image-translation": _IMAGES,
}
_OF_REPORTS: Mapping[type[BackendReport], TaskVerification] = {
    SegmentationReport: _LABELS,
    TranslationReport: _IMAGES,
}


def verification_of(report: BackendReport) -> TaskVerification:
    """The comparison that a report is from."""
    return _OF_REPORTS[type(report)]
