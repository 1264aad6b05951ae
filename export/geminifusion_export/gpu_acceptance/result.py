"""What a part found: checks that decide, figures, and targets that are met or missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from geminifusion_export.errors import first_line
from geminifusion_runtime import strict_json

Status = Literal["PASS", "FAIL", "SKIP"]


class Missing(Exception):
    """The machine lacks what a part needs; the message says what, and how to get it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that has to hold; `found` says what was seen."""

    what: str
    passed: bool
    found: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """A speed that the project asks of itself. A missed one is reported and does not fail the part."""

    what: str
    wanted: float
    found: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether what was found is at least what is wanted."""
        return self.found >= self.wanted


@dataclass(kw_only=True)
class Findings:
    """Everything a part has found so far."""

    checks: list[Check] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    figures: dict[str, float | str] = field(default_factory=dict)  # the unit is in the name
    notes: list[str] = field(default_factory=list)  # what was left out, and why


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """How a part ended.

    Args:
        detail: why it failed or was skipped, or a summary.
    """

    letter: str
    title: str
    status: Status
    detail: str
    seconds: float
    findings: Findings

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready values; targets say whether they are met."""
        facts = asdict(self)
        for target, entry in zip(self.findings.targets, facts["findings"]["targets"], strict=True):
            entry["met"] = target.met
        return facts


class Report:
    """Collects a part's findings and keeps a file up to date, so that a part that is ended early has said something.

    Args:
        path: of that file; none keeps the findings in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.findings = Findings()
        self._path = path

    def check(self, what: str, passed: bool, found: str) -> None:
        """Record something that has to hold."""
        self.findings.checks.append(Check(what=what, passed=passed, found=found))
        self._write()

    def attempt(self, what: str, measure: Callable[[], str]) -> None:
        """Record whether a measurement works, and what it says; an exception fails the check and not the part."""
        try:
            found = measure()
        except Missing as missing:
            self.note(f"{what}: {missing}")
        except Exception as error:  # whatever a library raises on a card that it has never seen
            self.check(what, False, f"{type(error).__name__}: {first_line(error)}")
        else:
            self.check(what, True, found)

    def target(self, what: str, wanted: float, found: float, unit: str) -> None:
        """Record a speed against what the project asks of itself."""
        self.findings.targets.append(Target(what=what, wanted=wanted, found=found, unit=unit))
        self._write()

    def figure(self, name: str, value: float | str) -> None:
        """Record a number; its name ends in the unit."""
        self.findings.figures[name] = round(value, 4) if isinstance(value, float) else value
        self._write()

    def note(self, text: str) -> None:
        """Record what was left out, and why."""
        self.findings.notes.append(text)
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            unfinished = self._path.with_suffix(".part")
            unfinished.write_text(strict_json.dumps(asdict(self.findings)), encoding="utf-8")
            unfinished.replace(self._path)


def read_findings(path: Path) -> Findings:
    """What a part's process has written; nothing if it wrote nothing."""
    if not path.is_file():
        return Findings()
    return TypeAdapter(Findings).validate_json(path.read_bytes())


def summary(findings: Findings) -> str:
    """The findings of a part that ran to its end, in one line."""
    failed = [f"{check.what}: {check.found}" for check in findings.checks if not check.passed]
    if failed:
        return "; ".join(failed[:3]) + (f"; and {len(failed) - 3} more" if len(failed) > 3 else "")
    parts = [f"{len(findings.checks)} checks"]
    if findings.targets:
        missed = [f"{each.what} {each.found:.3g} of {each.wanted:g} {each.unit}" for each in missed_targets(findings)]
        met = f"{len(findings.targets) - len(missed)} of {len(findings.targets)} targets met"
        parts.append(f"{met} (missed: {'; '.join(missed)})" if missed else met)
    return ", ".join([*parts, *findings.notes])


def missed_targets(findings: Findings) -> list[Target]:
    """Targets that were not reached."""
    return [target for target in findings.targets if not target.met]
