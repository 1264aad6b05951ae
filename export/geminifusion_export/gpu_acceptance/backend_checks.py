"""Holding a backend of an artifact to its golden set, and timing it: what several parts do."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

from geminifusion_export.benchmarking.paired import paired_seconds
from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_export.runtime_discovery import BackendFile, Candidate, open_candidate
from geminifusion_export.verification.measurement import Measurement
from geminifusion_runtime.artifact import SegmentationReport, read_metadata
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.devices import Device
from geminifusion_runtime.dummy_inputs import random_inputs
from geminifusion_runtime.golden_set import read_golden_set

_BATCHES = (1, 8)
_RUNS = 15


def check_backend(report: Report, artifact: Path, wanted: str, device: Device, what: str) -> bool:
    """Open a backend as the service does and record whether its outputs are within the budget of its precision.

    Returns:
        Whether they are.
    """
    metadata = read_metadata(artifact)
    candidate = open_candidate(BackendFile(wanted, wanted), artifact, metadata, device=device)
    if not isinstance(candidate, Candidate):
        report.check(what, False, candidate.reason)
        return False
    measurement = Measurement([candidate], metadata)
    measurement.measure_golden(read_golden_set(artifact, metadata))
    problems = measurement.problems
    labels = 100 * min(
        (each.label_agreement for each in measurement.reports if isinstance(each, SegmentationReport)), default=0.0
    )
    report.check(
        what, not problems, problems[0] if problems else f"{candidate.precision}, {labels:.3f} % of the labels"
    )
    return not problems


def time_backend(report: Report, artifact: Path, wanted: str, device: Device, what: str) -> None:
    """Record milliseconds and pairs per second at the reference size, copies from and to the host included."""
    metadata = read_metadata(artifact)
    candidate = open_candidate(BackendFile(wanted, wanted), artifact, metadata, device=device)
    if not isinstance(candidate, Candidate):
        report.note(f"{what} is not timed: {candidate.reason}")
        return
    for batch in _BATCHES:
        shape: BatchShape = (batch, *metadata.size.reference)
        inputs = random_inputs(metadata.modalities, shape)
        seconds = paired_seconds({what: partial(candidate.backend.run, inputs)}, runs=_RUNS, warm_up=4)
        median = statistics.median(seconds[what])
        report.figure(f"{what} batch {batch} ms", 1e3 * median)
        report.figure(f"{what} batch {batch} pairs/s", batch / median)
