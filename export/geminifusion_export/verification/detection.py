"""Comparing the numbers that a backend gives for every anchor, and the boxes they make, with torch's, of detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geminifusion_export.errors import VerificationError
from geminifusion_export.runtime_discovery import Candidate
from geminifusion_export.verification.comparison import Comparison
from geminifusion_runtime.artifact import DETECTION_OUTPUTS, ArtifactMetadata, BackendReport, DetectionReport
from geminifusion_runtime.artifact import DetectionMetadata as _Metadata
from geminifusion_runtime.backends.protocol import BatchShape, GraphInputs, GraphOutputs
from geminifusion_runtime.detection.frames import PreparedFrame
from geminifusion_runtime.tasks.detection.agreement import LEAST_AGREEMENT, agreement, as_rows
from geminifusion_runtime.tasks.detection.golden import read_golden_frames
from geminifusion_runtime.tasks.detection.selection import found_boxes

MAX_ERROR = 1e-3  # of any number of any anchor in float32; boxes move by millimetres
DETECTION_COLUMNS = ("points at most", "class max", "box max", "direction max", "boxes equal")


@dataclass(frozen=True, eq=False)
class ReferenceFrame:
    """A frame, and the reference's outputs for it."""

    frame: PreparedFrame
    outputs: GraphOutputs

    @property
    def inputs(self) -> GraphInputs:
        """Of the graph."""
        return self.frame.inputs

    @property
    def shape(self) -> BatchShape:
        """One, and height and width of the image as the graph takes it."""
        return (1, *self.frame.shape)


def golden_detections(directory: Path, metadata: ArtifactMetadata) -> tuple[ReferenceFrame, ...]:
    """See `read_golden_frames`."""
    assert isinstance(metadata, _Metadata), "of this task's own making"
    frames = read_golden_frames(directory, metadata)
    return tuple(ReferenceFrame(frame.prepared(metadata), frame.outputs) for frame in frames)


def compare_detections(
    expected: Sequence[ReferenceFrame], candidate: Candidate, metadata: ArtifactMetadata, traced: BatchShape | None
) -> Comparison:
    """Run every frame and report the differences; see `comparison.compare`."""
    assert isinstance(metadata, _Metadata), "of this task's own making"
    errors = {output.name: 0.0 for output in DETECTION_OUTPUTS}
    agreeing = total = 0
    outputs = []
    for reference in expected:
        found = candidate.backend.run(reference.inputs)
        outputs.append(found)
        for name in errors:
            wanted = reference.outputs[name]
            if found[name].shape != wanted.shape:
                raise VerificationError(
                    f"{candidate.label} gives {name} as {found[name].shape}, expected {wanted.shape}"
                )
            difference = np.abs(np.asarray(found[name], np.float32) - np.asarray(wanted, np.float32))
            errors[name] = float(np.maximum(errors[name], difference.max()))  # which keeps a NaN
        boxes, wanted_boxes = (
            as_rows(found_boxes(metadata, each, reference.frame)) for each in (found, reference.outputs)
        )
        same, of = agreement(boxes, wanted_boxes)
        agreeing, total = agreeing + same, total + of
    _, height, width = expected[0].shape
    report = DetectionReport(
        backend=candidate.name,
        batch=1,
        height=height,
        width=width,
        traced=expected[0].shape == traced,
        precision=candidate.precision,
        num_points=max(reference.frame.num_points for reference in expected),
        class_logit_max_error=errors["class_logits"],
        box_number_max_error=errors["box_numbers"],
        direction_logit_max_error=errors["direction_logits"],
        box_agreement=agreeing / total,
    )
    return Comparison(report, tuple(outputs))


def detection_problems(report: BackendReport, metadata: ArtifactMetadata) -> list[str]:
    """What is over budget, one sentence each; empty if nothing is. NaN is over every budget."""
    assert isinstance(report, DetectionReport), "of this task's own making"
    where = f"{report.backend} ({report.precision}) on up to {report.num_points} points"
    limits = (
        ("class logits", report.class_logit_max_error),
        ("box numbers", report.box_number_max_error),
        ("direction logits", report.direction_logit_max_error),
    )
    found = [
        f"{where}: {words} off by {error:.2e} of {MAX_ERROR:.0e}" for words, error in limits if not error <= MAX_ERROR
    ]
    if not report.box_agreement >= LEAST_AGREEMENT:
        found.append(f"{where}: {report.box_agreement:.1%} of the boxes agree of {LEAST_AGREEMENT:.0%}")
    return found


def detection_cells(report: BackendReport) -> list[str]:
    """The figures of a report, in the order of `DETECTION_COLUMNS`."""
    assert isinstance(report, DetectionReport), "of this task's own making"
    errors = (report.class_logit_max_error, report.box_number_max_error, report.direction_logit_max_error)
    return [str(report.num_points), *(f"{error:.1e}" for error in errors), f"{100 * report.box_agreement:.2f} %"]
