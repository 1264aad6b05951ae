"""The last step of an export: measure every backend of a directory, and record the result in it or reject it.

Nothing here imports torch: its outputs come as `Reference`, so the step serves an export from a checkpoint and a
runtime added to an existing artifact alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from geminifusion_export.errors import VerificationError
from geminifusion_export.openvino_ir import values_in_openvino
from geminifusion_export.runtime_discovery import open_candidates
from geminifusion_export.verification.certificate import Verification, certify
from geminifusion_export.verification.comparison import Reference
from geminifusion_export.verification.divergence import describe_divergence
from geminifusion_export.verification.html_report import REPORT_NAME, write_report
from geminifusion_export.verification.measurement import Measurement
from geminifusion_export.verification.tasks import VERIFICATIONS
from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata, BackendReport, write_metadata
from geminifusion_runtime.backends.protocol import BatchShape, GraphOutputs
from geminifusion_runtime.dummy_inputs import random_inputs

Locate = Callable[[BackendReport], str | None]


def verify_export(
    directory: Path,
    metadata: ArtifactMetadata,
    expected: Sequence[Reference] = (),
    *,
    traced: BatchShape | None = None,
    locate: Locate | None = None,
    threads: int = 0,
) -> ArtifactMetadata:
    """Measure everything `directory` has files for; write `metadata.json` with the reports, and the HTML report.

    The HTML report is not among the files whose hashes the metadata holds: it shows the hash of the metadata.

    Args:
        directory: complete but for these two; `metadata` names its files, the golden set among them.
        expected: torch's outputs at several shapes; without them other runtimes are held to ONNX Runtime's.
        traced: the shape among them that the graph was traced with.
        locate: names the layer at fault for a report that is over budget; called once.
        threads: of runtimes on the CPU; 0 takes all cores this process may use.

    Returns:
        The metadata as written.

    Raises:
        VerificationError: something is over budget, or nothing here can run the exported network.
    """
    measurement = Measurement(open_candidates(directory, metadata, threads), metadata)
    if not measurement.candidates:
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in measurement.not_measured)
        raise VerificationError(f"nothing here can run the exported network ({reasons}), so it cannot be verified")
    if expected:
        measurement.measure_shapes("on random inputs, against torch", expected, traced)
    golden = VERIFICATIONS[metadata.task].golden(directory, metadata)
    outputs: Mapping[str, tuple[GraphOutputs, ...]] = measurement.measure_golden(golden) if golden else {}
    if not expected:
        measurement.measure_against_onnx()
    _require_within_budget(measurement, locate)
    verified = dataclasses.replace(
        metadata,
        verification=(*_reports_of_others(metadata, measurement.reports), *measurement.reports),
        # An artifact of an earlier release lists its report, which is replaced here.
        files={name: sha256 for name, sha256 in metadata.files.items() if name != REPORT_NAME},
    )
    write_metadata(directory, verified)
    verification = Verification(certificate=certify(directory, verified, measurement), golden=golden, outputs=outputs)
    write_report(directory / REPORT_NAME, verification, verified, of_this_machine=False)
    return verified


def layer_locator(float32_model: Path, directory: Path, metadata: ArtifactMetadata) -> Locate:
    """A `locate` for `verify_export`: where the artifact's graph departs from the float32 one it was made from.

    Args:
        float32_model: `model.onnx` as traced, before its weights or types were changed.
    """

    def locate(report: BackendReport) -> str | None:
        side = max(96, metadata.size.min_side)
        inputs = random_inputs(metadata.modalities, (1, side, side * 4 // 3))
        if report.backend.startswith("onnxruntime"):
            return describe_divergence(float32_model, directory / MODEL_NAME, inputs)
        wanted = "int8" if report.precision == "int8" else "float32"
        for entry in metadata.runtimes:
            if (entry.runtime, entry.precision) == ("openvino", wanted) and report.backend.startswith("openvino"):
                probe = partial(values_in_openvino, directory / entry.file, inputs, report.precision)
                return describe_divergence(float32_model, directory / MODEL_NAME, inputs, probe)
        return None

    return locate


def _require_within_budget(measurement: Measurement, locate: Locate | None) -> None:
    if not measurement.problems:
        return
    worst = measurement.first_over_budget()
    layer = locate(worst) if locate is not None and worst is not None else None
    raise VerificationError(
        f"the exported network differs from torch beyond its budget: {'; '.join(measurement.problems)}"
        + ("" if layer is None else f"; it departs most at {layer}")
    )


def _reports_of_others(metadata: ArtifactMetadata, measured: Sequence[BackendReport]) -> tuple[BackendReport, ...]:
    """Earlier reports of what was not measured again: torch's comparison of a graph that has not changed."""
    again = {_key(report) for report in measured}
    return tuple(report for report in metadata.verification if _key(report) not in again)


def _key(report: BackendReport) -> tuple[object, ...]:
    shape = (report.batch, report.height, report.width)
    return (report.backend, report.precision, shape, getattr(report, "miou", None) is None)
