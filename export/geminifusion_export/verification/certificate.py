"""The certificate of a verification: what was compared, on what, and what came out, for people and for programs."""

from __future__ import annotations

import dataclasses
import datetime
import json
from dataclasses import dataclass
from pathlib import Path

from geminifusion_export.machine import Machine, describe_machine, installed_packages
from geminifusion_export.runtime_discovery import Unavailable
from geminifusion_export.verification.comparison import VerificationError
from geminifusion_export.verification.report import verification_table
from geminifusion_runtime.artifact import METADATA_NAME, ArtifactMetadata, BackendReport, sha256_of

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Section:
    """Reports that share what they were compared with.

    Args:
        against: on what, and with what, in words.
        problems: what was over budget, one sentence each.
        measured_here: False for figures recorded at export and only repeated.
    """

    against: str
    reports: tuple[BackendReport, ...]
    problems: tuple[str, ...] = ()
    measured_here: bool = True


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One verification on one machine.

    Args:
        reference: `name@version` of the artifact.
        commit: of the source that wrote the artifact.
        date: UTC, ISO 8601.
        hashes: SHA-256 of the checkpoint's weights, of the metadata and of each file.
        checks: what was looked at besides numbers, one sentence each.
        not_measured: runtimes the artifact has files for that could not be asked here.
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
        """Refuse a verification with anything over budget.

        Raises:
            VerificationError: naming what is.
        """
        if self.problems:
            raise VerificationError(
                f"{self.reference} differs from torch beyond its budget on this machine: {'; '.join(self.problems)}. "
                "Do not serve it with that backend here; report the certificate (--json) with your hardware"
            )

    def to_json(self) -> str:
        """The certificate as a JSON object; adds `verdict` and `problems`."""
        facts = {"schema_version": SCHEMA_VERSION, "verdict": self.verdict, "problems": self.problems}
        return json.dumps(facts | dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """Lines to read."""
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
    """The machine in words, by what each is about."""
    memory = "" if machine.memory_gib is None else f", {machine.memory_gib} GiB"
    facts = {
        "CPU": f"{machine.cpu}, {machine.threads} threads{memory} ({' '.join(machine.cpu_features) or 'plain'})",
        "GPU": "; ".join(f"{g.name}, compute {g.compute_capability}, driver {g.driver}" for g in machine.gpus)
        or "none found",
        "system": f"{machine.system}, Python {machine.python}",
    }
    return facts


def certify(
    directory: Path,
    metadata: ArtifactMetadata,
    sections: tuple[Section, ...],
    *,
    checks: tuple[str, ...] = (),
    not_measured: tuple[Unavailable, ...] = (),
) -> Certificate:
    """Sign a verification with the artifact's hashes and this machine's facts."""
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
        checks=checks,
        sections=sections,
        not_measured=not_measured,
    )
