"""The last step of an export: measure every runtime in a directory, write the findings into it, or refuse it.

Nothing here imports torch: what it answered comes as `Expected`, so the same step serves an export from a checkpoint
and a runtime added to an existing artifact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from geminifusion_export.openvino_ir import values_in_openvino
from geminifusion_export.runtime_discovery import Unavailable, open_runtimes
from geminifusion_export.runtimes import Answers
from geminifusion_export.verification.certificate import Section, certify
from geminifusion_export.verification.comparison import Expected, Shape, VerificationError, budget_for, problems
from geminifusion_export.verification.divergence import blame
from geminifusion_export.verification.golden import read_golden
from geminifusion_export.verification.html_report import PAGE_NAME, write_page
from geminifusion_export.verification.sample_inputs import sample_feeds
from geminifusion_export.verification.verify_artifact import (
    Findings,
    Recheck,
    measure_against_onnx,
    measure_golden,
    measure_shapes,
    section_of,
)
from geminifusion_runtime.artifact import (
    METADATA_NAME,
    MODEL_NAME,
    ArtifactMetadata,
    BackendReport,
    read_metadata,
    sha256_of,
    write_metadata,
)

Locate = Callable[[BackendReport], str | None]


def prove(
    directory: Path,
    metadata: ArtifactMetadata,
    expected: Sequence[Expected] = (),
    *,
    traced: Shape | None = None,
    locate: Locate | None = None,
    threads: int = 0,
) -> ArtifactMetadata:
    """Measure everything `directory` has files for, and write the report into `metadata.json` and an HTML page.

    Args:
        directory: complete but for the two; `metadata` names its files, the golden set among them.
        expected: torch's answers at several shapes; without them other runtimes are held to ONNX Runtime's.
        traced: the shape among them that the graph was traced with.
        locate: names the layer to blame for a report that is over budget; asked once.
        threads: of runtimes on the CPU; 0 leaves the choice to them.

    Returns:
        The metadata as written: with reports, and with the page among its files.

    Raises:
        VerificationError: something is over budget, or the graph of the artifact itself could not be run.
    """
    opened = open_runtimes(directory, metadata, threads)
    runtimes = [entry for entry in opened if not isinstance(entry, Unavailable)]
    findings = Findings([entry for entry in opened if isinstance(entry, Unavailable)])
    if not runtimes:
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in findings.not_measured)
        raise VerificationError(f"nothing here can run the exported network ({reasons}), so it cannot be verified")
    sections: list[Section] = []
    if expected:
        reports = measure_shapes(expected, runtimes, metadata, findings, traced)
        sections.append(section_of("on random inputs, against torch", reports, metadata, findings))
    golden = read_golden(directory, metadata)
    answers: dict[str, tuple[Answers, ...]] = {}
    if golden:
        section, answers = measure_golden(golden, runtimes, metadata, findings)
        sections.append(section)
    if not expected:
        sections += measure_against_onnx(runtimes, metadata, findings)
    _require_within(sections, metadata, locate)
    measured = tuple(report for section in sections for report in section.reports)
    kept = _reports_of_others(metadata, measured)
    proven = dataclasses.replace(metadata, verification=kept + measured)
    write_metadata(directory, proven)
    certificate = certify(directory, proven, tuple(sections), not_measured=tuple(findings.not_measured))
    # a hash of the metadata cannot be in a page whose own hash the metadata holds
    hashes = {name: value for name, value in certificate.hashes.items() if name not in (METADATA_NAME, PAGE_NAME)}
    recheck = Recheck(certificate=dataclasses.replace(certificate, hashes=hashes), golden=golden, answers=answers)
    write_page(directory / PAGE_NAME, recheck, proven)
    proven = dataclasses.replace(proven, files=proven.files | {PAGE_NAME: sha256_of(directory / PAGE_NAME)})
    write_metadata(directory, proven)
    return read_metadata(directory)


def layer_locator(float32_model: Path, directory: Path, metadata: ArtifactMetadata) -> Locate:
    """A `locate` for `prove`: where the artifact's graph departs from the float32 one it was made from.

    Args:
        float32_model: `model.onnx` as traced, before its weights or types were changed.
    """

    def locate(report: BackendReport) -> str | None:
        feeds = sample_feeds(metadata.modalities, (1, *_small(metadata)))
        if report.backend.startswith("onnxruntime"):
            return blame(float32_model, directory / MODEL_NAME, feeds)
        wanted = "int8" if report.precision == "int8" else "float32"
        for entry in metadata.runtimes:
            if (entry.runtime, entry.precision) == ("openvino", wanted) and report.backend.startswith("openvino"):
                probe = partial(values_in_openvino, directory / entry.file, feeds, report.precision)
                return blame(float32_model, directory / MODEL_NAME, feeds, probe)
        return None

    return locate


def _small(metadata: ArtifactMetadata) -> tuple[int, int]:
    side = max(96, metadata.size.min_side)
    return side, side * 4 // 3


def _require_within(sections: Sequence[Section], metadata: ArtifactMetadata, locate: Locate | None) -> None:
    over = [sentence for section in sections for sentence in section.problems]
    if not over:
        return
    reports = [report for section in sections for report in section.reports]
    worst = next(
        (r for r in reports if problems(r, budget_for(r.precision, metadata.weights_stored_as))),
        None,
    )
    layer = locate(worst) if locate is not None and worst is not None else None
    raise VerificationError(
        f"the exported network differs from torch beyond its budget: {'; '.join(over)}"
        + ("" if layer is None else f"; it departs most at {layer}")
    )


def _reports_of_others(metadata: ArtifactMetadata, measured: Sequence[BackendReport]) -> tuple[BackendReport, ...]:
    """Earlier reports of what was not measured again: torch's comparison of a graph that has not changed."""
    again = {(r.backend, r.precision, r.batch, r.height, r.width, r.miou is None) for r in measured}
    return tuple(
        r
        for r in metadata.verification
        if (r.backend, r.precision, r.batch, r.height, r.width, r.miou is None) not in again
    )
