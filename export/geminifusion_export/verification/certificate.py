"""The certificate of a verification: what was compared on which machine, and the result, as text and as JSON."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geminifusion_export.errors import VerificationError
from geminifusion_export.runtime_discovery import Unavailable
from geminifusion_export.verification.comparison import Reference
from geminifusion_export.verification.measurement import Measurement, Section
from geminifusion_export.verification.tasks import verification_of
from geminifusion_runtime import strict_json
from geminifusion_runtime.artifact import METADATA_NAME, ArtifactMetadata, BackendReport, sha256_of
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.machine import Machine, describe_machine, installed_packages

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One verification on one machine.

    Args:
        reference: `name@version` of the artifact.
        commit: of the source that wrote the artifact.
        date: UTC, ISO 8601.
        hashes: SHA-256 of the checkpoint's weights, of the metadata and of each file.
        checks: what was checked besides numbers, one sentence each.
        not_measured: backends the artifact has files for that could not be measured here.
    """

    reference: str
    commit: str | None
    date: str
    hashes: dict[str, str]
    machine: Machine
    packages: dict[str, str]
    checks: tuple[str, ...]
    sections: tuple[Section, ...]
    not_measured: tuple[Unavailable, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything over budget."""
        return tuple(sentence for section in self.sections for sentence in section.problems)

    @property
    def verdict(self) -> str:
        """One word for the outcome: `failed`, `passed`, or `unmeasured` where nothing could be compared here."""
        if self.problems:
            return "failed"
        measured = any(section.measured_here and section.reports for section in self.sections)
        return "passed" if measured else "unmeasured"

    def require_passed(self) -> None:
        """Reject a verification with anything over budget.

        Raises:
            VerificationError: naming everything over budget.
        """
        if self.problems:
            raise VerificationError(
                f"{self.reference} differs from torch beyond its budget on this machine: {'; '.join(self.problems)}. "
                "Do not serve it with that backend here; report the certificate (--json) with your hardware"
            )

    def to_json(self) -> str:
        """The certificate as a JSON object; adds `verdict` and `problems`."""
        facts = {"schema_version": SCHEMA_VERSION, "verdict": self.verdict, "problems": self.problems}
        return strict_json.dumps(facts | dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """The certificate as text."""
        lines = [f"certificate of {self.reference}, {self.date}", *(f"  {check}" for check in self.checks)]
        lines += [f"  SHA-256 {name:<22}{value}" for name, value in self.hashes.items()]
        lines += [f"  {name:<12}{text}" for name, text in machine_facts(self.machine).items()]
        lines.append(f"  {'packages':<12}{', '.join(f'{name} {version}' for name, version in self.packages.items())}")
        if self.commit is not None:
            lines.append(f"  {'exported at':<12}commit {self.commit}")
        for section in self.sections:
            lines += ["", f"{section.against}:", verification_table(section.reports)]
            lines += [f"OVER BUDGET: {sentence}" for sentence in section.problems]
        lines += [f"not measured: {entry.name}: {entry.reason}" for entry in self.not_measured]
        return "\n".join([*lines, "", self.verdict])


def machine_facts(machine: Machine) -> dict[str, str]:
    """The machine in words, by topic."""
    memory = "" if machine.memory_gib is None else f", {machine.memory_gib} GiB"
    return {
        "CPU": f"{machine.cpu}, {machine.threads} threads{memory} ({' '.join(machine.cpu_features) or 'plain'})",
        "GPU": "; ".join(f"{g.name}, compute {g.compute_capability}, driver {g.driver}" for g in machine.gpus)
        or "none found",
        "system": f"{machine.system}, Python {machine.python}",
    }


_WIDEST_CELL = 14


def verification_table(reports: Iterable[BackendReport]) -> str:
    """One line per backend and shape; errors are absolute, what else there is the task decides."""
    reports = tuple(reports)
    columns = verification_of(reports[0]).columns if reports else ()
    head = f"{'backend':<20}{'precision':<10}{'batch x H x W':<16}{_row(columns)}"
    return "\n".join([head, *map(_line, reports)])


def _line(report: BackendReport) -> str:
    shape = f"{report.batch} x {report.height} x {report.width}"
    return f"{report.backend:<20}{report.precision:<10}{shape:<16}{_row(verification_of(report).cells(report))}"


def _row(cells: Sequence[str]) -> str:
    return "".join(f"{cell:>{_WIDEST_CELL + 1}}" for cell in cells)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A certificate, and the frames behind it: the golden frames, and each candidate's outputs for them by label."""

    certificate: Certificate
    golden: Sequence[Reference] = ()
    outputs: Mapping[str, tuple[GraphOutputs, ...]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """The certificate as text."""
        return str(self.certificate)


def certify(
    directory: Path, metadata: ArtifactMetadata, measurement: Measurement, checks: Iterable[str] = ()
) -> Certificate:
    """Add the artifact's hashes and the facts of this machine to what was measured.

    Args:
        directory: of the artifact, with `metadata` as its metadata.json.
    """
    return Certificate(
        reference=metadata.reference,
        commit=metadata.git_commit,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        hashes={
            "weights": metadata.checkpoint_sha256,
            METADATA_NAME: sha256_of(directory / METADATA_NAME),
            **metadata.files,
        },
        machine=describe_machine(),
        packages=installed_packages(),
        checks=tuple(checks),
        sections=tuple(measurement.sections),
        not_measured=tuple(measurement.not_measured),
    )
