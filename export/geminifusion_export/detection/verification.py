"""Comparing a detector's backends with torch: the numbers of every anchor, and the boxes that they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from geminifusion_export.detection.graph import OUTPUT_NAMES, DetectionGraph
from geminifusion_export.errors import VerificationError, first_line
from geminifusion_export.runtime_discovery import Candidate
from geminifusion_runtime.artifact import DetectionMetadata, DetectionReport
from geminifusion_runtime.backends.protocol import GraphInputs, GraphOutputs
from geminifusion_runtime.tasks.detection.agreement import LEAST_AGREEMENT, agreement, as_rows
from geminifusion_runtime.tasks.detection.golden import GoldenFrame
from geminifusion_runtime.tasks.detection.selection import found_boxes

MAX_ERROR = 1e-3  # of any number of any anchor in float32; boxes move by millimetres


def torch_outputs(graph: DetectionGraph, inputs: GraphInputs) -> GraphOutputs:
    """The torch network's outputs by name."""
    with torch.no_grad():
        found = graph(*(torch.from_numpy(np.ascontiguousarray(array)) for array in inputs.values()))
    return {name: array.numpy() for name, array in zip(OUTPUT_NAMES, found, strict=True)}


def compare(candidate: Candidate, metadata: DetectionMetadata, frames: Sequence[GoldenFrame]) -> DetectionReport:
    """Run every frame on a backend and report the differences from torch's outputs.

    Raises:
        VerificationError: the backend failed, or its outputs have other shapes.
    """
    errors = dict.fromkeys(OUTPUT_NAMES, 0.0)
    agreeing = total = 0.0
    points = []
    for frame in frames:
        prepared = frame.prepared(metadata)
        points.append(prepared.num_points)
        try:
            found = candidate.backend.run(prepared.inputs)
        except Exception as error:  # whatever its library raises: a loaded backend has to run
            raise VerificationError(
                f"{candidate.label} failed on {prepared.num_points} points: {first_line(error)}"
            ) from error
        for name in OUTPUT_NAMES:
            if found[name].shape != frame.outputs[name].shape:
                raise VerificationError(
                    f"{candidate.label} gives {name} as {found[name].shape}, expected {frame.outputs[name].shape}"
                )
            difference = np.abs(np.asarray(found[name], np.float32) - np.asarray(frame.outputs[name], np.float32))
            errors[name] = max(errors[name], float(difference.max()))
        expected = found_boxes(metadata, frame.outputs, prepared)
        same, of = agreement(as_rows(found_boxes(metadata, found, prepared)), as_rows(expected))
        agreeing, total = agreeing + same, total + of
    height, width = frames[0].prepared(metadata).shape
    return DetectionReport(
        backend=candidate.name,
        batch=1,
        height=height,
        width=width,
        traced=False,
        precision=candidate.precision,
        num_points=max(points),
        class_logit_max_error=errors["class_logits"],
        box_number_max_error=errors["box_numbers"],
        direction_logit_max_error=errors["direction_logits"],
        box_agreement=agreeing / total,
    )


def problems(report: DetectionReport) -> list[str]:
    """What is over budget, one sentence each; empty if nothing is. NaN is over every budget."""
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


def verification_table(reports: Sequence[DetectionReport]) -> str:
    """One line a backend; errors are absolute."""
    head = (
        f"{'backend':<20}{'precision':<10}{'points':>8}{'class max':>12}{'box max':>12}{'direction':>12}"
        f"{'boxes equal':>13}"
    )
    lines = [
        f"{one.backend:<20}{one.precision:<10}{one.num_points:>8}{one.class_logit_max_error:>12.1e}"
        f"{one.box_number_max_error:>12.1e}{one.direction_logit_max_error:>12.1e}{100 * one.box_agreement:>11.2f} %"
        for one in reports
    ]
    return "\n".join([head, *lines])
