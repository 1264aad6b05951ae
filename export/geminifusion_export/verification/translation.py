"""Comparing a backend's images with the torch network's, of translators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geminifusion_export.errors import VerificationError
from geminifusion_export.runtime_discovery import Candidate
from geminifusion_export.verification.comparison import Comparison, describe_shape
from geminifusion_runtime.artifact import ArtifactMetadata, BackendReport, Precision, TranslationReport
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.golden_set import ReferenceBatch
from geminifusion_runtime.tasks.translation.runtime import MIN_AGREEMENT, agreeing_values

# Mean absolute error that a backend may have, in grey levels, or in metres of depth for each metre of its range.
_MEAN_GREY_LEVELS: dict[Precision, float] = {"float32": 0.01, "float16": 0.5, "bfloat16": 2.0, "int8": 8.0}
_MEAN_SHARE: dict[Precision, float] = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2, "int8": 5e-2}
_FLOAT16_WEIGHTS: Precision = "float16"  # whose budget weights of 16 bits get


def compare_translations(
    expected: Sequence[ReferenceBatch],
    candidate: Candidate,
    metadata: ArtifactMetadata,
    traced: BatchShape | None,
) -> Comparison:
    """Run every batch (all of one shape) and report the differences; see `comparison.compare`."""
    (output,) = metadata.outputs
    found = tuple(candidate.backend.run(batch.inputs) for batch in expected)
    pairs = [(batch.outputs[output.name], outputs[output.name]) for batch, outputs in zip(expected, found, strict=True)]
    for batch, (wanted, got) in zip(expected, pairs, strict=True):
        if wanted.shape != got.shape:
            raise VerificationError(
                f"{candidate.name} at {describe_shape(batch.shape)}: {output.name} is {got.shape}, expected "
                f"{wanted.shape}"
            )
    errors = np.concatenate([np.abs(a.astype(np.float32) - b.astype(np.float32)).ravel() for a, b in pairs])
    agreeing = np.concatenate([agreeing_values(b, a).ravel() for a, b in pairs])
    batch_size, height, width = expected[0].shape
    report = TranslationReport(
        backend=candidate.name,
        batch=batch_size,
        height=height,
        width=width,
        traced=expected[0].shape == traced,
        precision=candidate.precision,
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        agreement=float(agreeing.mean()),
    )
    return Comparison(report, found)


def translation_problems(report: BackendReport, metadata: ArtifactMetadata) -> list[str]:
    """What is over budget, one sentence each; empty if nothing is. NaN is over every budget."""
    assert isinstance(report, TranslationReport), "of this task's own making"
    precision = report.precision
    if precision == "float32" and metadata.weights_stored_as == "float16":
        precision = _FLOAT16_WEIGHTS
    depth = metadata.outputs[0].dtype == "float32"
    allowed = _MEAN_SHARE[precision] * _span(metadata) if depth else _MEAN_GREY_LEVELS[precision]
    where = f"{report.backend} ({report.precision}) at {describe_shape((report.batch, report.height, report.width))}"
    found = []
    if not report.mean_error <= allowed:
        unit = "m" if depth else "grey levels"
        found.append(f"{where}: off on average by {report.mean_error:.2e} {unit} of {allowed:.0e}")
    if not report.agreement >= MIN_AGREEMENT[precision]:
        found.append(
            f"{where}: {100 * report.agreement:.3f} % of the values agree of {100 * MIN_AGREEMENT[precision]:g} %"
        )
    return found


def _span(metadata: ArtifactMetadata) -> float:
    low, high = metadata.output.range  # type: ignore[attr-defined]  # of a translator
    return float(high - low)


def translation_cells(report: BackendReport) -> list[str]:
    """The figures of a report, in the order of `TRANSLATION_COLUMNS`."""
    assert isinstance(report, TranslationReport), "of this task's own making"
    return [f"{report.max_error:.2e}", f"{report.mean_error:.1e}", f"{100 * report.agreement:.4f} %"]


TRANSLATION_COLUMNS = ("error max", "mean", "values agree")
