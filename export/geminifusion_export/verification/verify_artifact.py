"""Repeat an artifact's verification on the user's own machine; torch is needed only where a checkpoint is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geminifusion_export.error_text import first_line
from geminifusion_export.runtime_discovery import Unavailable, label, open_runtimes
from geminifusion_export.runtimes import Answers, Runtime
from geminifusion_export.verification.certificate import Certificate, Section, certify
from geminifusion_export.verification.comparison import (
    Expected,
    Shape,
    VerificationError,
    budget_for,
    compare,
    expect,
    fits_engine,
    problems,
)
from geminifusion_export.verification.golden import read_golden
from geminifusion_export.verification.sample_inputs import sample_feeds
from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata, BackendReport, open_artifact

# Where no torch says what is right, other runtimes are asked at these shapes and held to what ONNX Runtime answers.
_SHAPES: tuple[Shape, ...] = ((1, 96, 128), (2, 133, 101), (1, 480, 640))


@dataclass
class Findings:
    """What a round over runtimes collects besides reports.

    Args:
        not_measured: what could not be asked here, and why.
        failures: runtimes that were opened and then failed on a batch, one sentence each.
    """

    not_measured: list[Unavailable]
    failures: list[str] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """A certificate, and the pictures behind it: golden frames with each runtime's answers by `available.label`."""

    certificate: Certificate
    golden: tuple[Expected, ...] = ()
    answers: Mapping[str, tuple[Answers, ...]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """The certificate to read."""
        return str(self.certificate)


def recheck_artifact(
    artifact: Path,
    checkpoint: Path | None = None,
    data: Path | None = None,
    frames: int = 50,
    *,
    threads: int = 0,
    custom_ops: Path | None = None,
) -> Recheck:
    """Check files and graph, then compare every runtime that works here with what torch answered, or answers now.

    Args:
        checkpoint: the one the artifact was made from; torch is then asked at several shapes, traced and not.
        data: NYUv2 folder; with a checkpoint, the first `frames` test frames are compared too.
        threads: of runtimes on the CPU; 0 leaves the choice to them.
        custom_ops: our library of kernels for ONNX Runtime.

    Returns:
        What was found; over budget or not is for the caller to say (`certificate.require_passed`).

    Raises:
        ArtifactError: a file is missing or damaged.
        ExportError: the checkpoint is not the one the artifact was made from, or --data came without it.
        VerificationError: the graph is not what the metadata says.
    """
    if data is not None and checkpoint is None:
        raise VerificationError("comparing labels on data needs the torch network; give --checkpoint too")
    metadata = open_artifact(artifact)
    checks = [f"{len(metadata.files)} file(s) match their SHA-256", *_graph_checks(artifact / MODEL_NAME, metadata)]
    opened = open_runtimes(artifact, metadata, threads, custom_ops=custom_ops)
    runtimes = [entry for entry in opened if not isinstance(entry, Unavailable)]
    findings = Findings([entry for entry in opened if isinstance(entry, Unavailable)])
    sections: list[Section] = []
    golden = read_golden(artifact, metadata)
    answers: dict[str, tuple[Answers, ...]] = {}
    if golden and metadata.golden is not None:
        section, answers = measure_golden(golden, runtimes, metadata, findings)
        sections.append(section)
    else:
        checks.append("no golden set in the artifact: nothing to measure without a checkpoint; export it again")
        sections.append(Section(against="as recorded at export", reports=metadata.verification, measured_here=False))
    if checkpoint is None:
        sections += measure_against_onnx(runtimes, metadata, findings)
    else:
        from geminifusion_export.verification.recheck_torch import measure_against_torch

        found, remarks = measure_against_torch(checkpoint, data, frames, runtimes, metadata, findings)
        sections += found
        checks += remarks
    return Recheck(
        certificate=certify(
            artifact, metadata, tuple(sections), checks=tuple(checks), not_measured=tuple(findings.not_measured)
        ),
        golden=golden,
        answers=answers,
    )


def measure_golden(
    golden: Sequence[Expected],
    runtimes: Sequence[Runtime],
    metadata: ArtifactMetadata,
    findings: Findings,
) -> tuple[Section, dict[str, tuple[Answers, ...]]]:
    """Every runtime on the golden frames; one that fails to answer is over budget.

    Returns:
        The section, and the answers by `available.label`.
    """
    assert metadata.golden is not None  # there are no frames without it
    reports, answers = [], {}
    for runtime in runtimes:
        comparison = _tried(golden, runtime, metadata, findings)
        if comparison is not None:
            reports.append(comparison[0])
            answers[label(runtime)] = comparison[1]
    title = f"on {metadata.golden.frames} golden frames, against torch's recorded answers"
    return section_of(title, reports, metadata, findings), answers


def measure_against_onnx(runtimes: Sequence[Runtime], metadata: ArtifactMetadata, findings: Findings) -> list[Section]:
    """Other runtimes at other shapes than the golden frames', against `model.onnx` on ONNX Runtime; empty if alone."""
    if len(runtimes) < 2 or not runtimes[0].name.startswith("onnxruntime"):
        return []
    shapes = [shape for shape in _SHAPES if min(shape[1:]) >= metadata.size.min_side]
    feeds = [sample_feeds(metadata.modalities, shape, seed) for seed, shape in enumerate(shapes)]
    expected = expect(runtimes[0], feeds)
    reports = measure_shapes(expected, runtimes[1:], metadata, findings)
    return [section_of("on random inputs, against model.onnx on ONNX Runtime", reports, metadata, findings)]


def measure_shapes(
    expected: Sequence[Expected],
    runtimes: Sequence[Runtime],
    metadata: ArtifactMetadata,
    findings: Findings,
    traced: Shape | None = None,
) -> list[BackendReport]:
    """Every runtime at the shape of every batch."""
    found = [_tried([entry], runtime, metadata, findings, traced) for runtime in runtimes for entry in expected]
    return [comparison[0] for comparison in found if comparison is not None]


def section_of(title: str, reports: Sequence[BackendReport], metadata: ArtifactMetadata, findings: Findings) -> Section:
    """A section with each report held to the budget of its precision; it takes over the failures found so far."""
    over = [problems(report, budget_for(report.precision, metadata.weights_stored_as)) for report in reports]
    failures, findings.failures = findings.failures, []
    return Section(
        against=title,
        reports=tuple(reports),
        problems=(*failures, *(sentence for some in over for sentence in some)),
    )


def _tried(
    expected: Sequence[Expected],
    runtime: Runtime,
    metadata: ArtifactMetadata,
    findings: Findings,
    traced: Shape | None = None,
) -> tuple[BackendReport, tuple[Answers, ...]] | None:
    size = "x".join(map(str, expected[0].shape))
    if runtime.name.startswith("tensorrt") and not fits_engine(expected[0].shape, metadata.engine):
        findings.not_measured.append(
            Unavailable(label(runtime), f"{size} is outside the engine's optimisation profiles")
        )
        return None
    try:
        report, answers = compare(expected, runtime, num_classes=len(metadata.classes), traced=traced)
    except VerificationError as error:
        findings.failures.append(str(error))
        return None
    # whatever its library raises: a runtime that was loaded and cannot answer has not passed
    except Exception as error:
        findings.failures.append(f"{label(runtime)} failed at {size}: {first_line(error)}")
        return None
    return report, answers


def _graph_checks(path: Path, metadata: ArtifactMetadata) -> list[str]:
    """Whether the file is a valid graph that holds what the metadata says."""
    try:
        import onnx

        from geminifusion_export.fusion_node import DOMAIN, OP_TYPE
    except ModuleNotFoundError as error:
        return [f'graph not examined: {error.name} is not installed; run: pip install "geminifusion[export]"']
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    nodes = sum(node.domain == DOMAIN and node.op_type == OP_TYPE for node in model.graph.node)
    functions = [f.name for f in model.functions]
    if metadata.fusion == "geminifusion" and (not nodes or OP_TYPE not in functions):
        raise VerificationError(f"{path} has {nodes} {OP_TYPE} nodes and functions {functions}; expected both")
    fusion = f"{nodes} {OP_TYPE} nodes with their function" if nodes else f"no {OP_TYPE} node"
    return [f"graph valid: opset {metadata.opset}, {fusion}, {metadata.precision}"]
