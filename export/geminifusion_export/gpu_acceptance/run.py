"""Running the parts, each in a process of its own, and what comes out as a table and as JSON."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from geminifusion_export.gpu_acceptance.part_process import SKIPPED
from geminifusion_export.gpu_acceptance.parts import Part
from geminifusion_export.gpu_acceptance.requirements import missing_for
from geminifusion_export.gpu_acceptance.result import Findings, PartResult, Status, read_findings, summary
from geminifusion_runtime import strict_json
from geminifusion_runtime.machine import Machine, describe_machine, installed_packages, source_version

SCHEMA_VERSION = 1
_COMMAND = (sys.executable, "-P", "-m", "geminifusion_export.gpu_acceptance.part_process")
_STOP_S = 10.0  # to end by SIGTERM before it is killed


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """All parts on one machine."""

    machine: Machine
    packages: dict[str, str]
    commit: str | None
    date: str  # UTC, ISO 8601
    parts: tuple[PartResult, ...]

    @property
    def failed(self) -> bool:
        """Whether any part failed; one that was skipped has not."""
        return any(part.status == "FAIL" for part in self.parts)

    def to_json(self) -> str:
        """A JSON object to paste into an issue."""
        facts = {
            "schema_version": SCHEMA_VERSION,
            "date": self.date,
            "commit": self.commit,
            "machine": asdict(self.machine),
            "packages": self.packages,
            "parts": [part.to_json() for part in self.parts],
        }
        return strict_json.dumps(facts, indent=1, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """The machine, then a Markdown table of the parts."""
        gpus = "; ".join(f"{g.name}, compute {g.compute_capability}, driver {g.driver}" for g in self.machine.gpus)
        versions = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        rows = [
            f"| {part.letter} | {part.title} | {part.status} | {part.seconds:.0f} s | {_in_a_cell(part.detail)} |"
            for part in self.parts
        ]
        head = [f"GPU: {gpus or 'none'}; CPU: {self.machine.cpu}; {self.machine.system}", versions, ""]
        return "\n".join([*head, "| | part | result | time | what was found |", "|---|---|---|---|---|", *rows])


def run_parts(parts: Iterable[Part], on_result: Callable[[PartResult], None] = lambda _: None) -> Acceptance:
    """Run parts one after the other, whatever becomes of each.

    Args:
        on_result: called after each part.
    """
    results = []
    for part in parts:
        result = run_part(part)
        on_result(result)
        results.append(result)
    version = source_version(Path(__file__).parent)
    return Acceptance(
        machine=describe_machine(),
        packages=installed_packages(),
        commit=None if version is None else version.commit,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        parts=tuple(results),
    )


def run_part(part: Part) -> PartResult:
    """Run one part in a process of its own; ended with all it has started when its time is over."""
    if (missing := missing_for(part)) is not None:
        return _result(part, "SKIP", missing, 0.0, Findings())
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="geminifusion-gpu-") as folder:
        path, log = Path(folder) / "findings.json", Path(folder) / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [*_COMMAND, part.module, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
            try:
                code: int | None = process.wait(part.limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end_group(process)
        findings = read_findings(path)
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it said nothing"
    status, detail = _outcome(part, code, findings, last)
    return _result(part, status, detail, time.monotonic() - started, findings)


def _result(part: Part, status: Status, detail: str, seconds: float, findings: Findings) -> PartResult:
    return PartResult(
        letter=part.letter,
        title=part.title,
        status=status,
        detail=detail,
        seconds=round(seconds, 1),
        findings=findings,
    )


def _outcome(part: Part, code: int | None, findings: Findings, last: str) -> tuple[Status, str]:
    if code == SKIPPED:
        return "SKIP", last
    if code is None:
        return "FAIL", f"not done within {part.limit_s:g} s; until then: {summary(findings)}"
    if code != 0:
        ended = last if code > 0 else f"ended by {signal.Signals(-code).name}; {last}"
        return "FAIL", ended
    if not findings.checks:
        return "FAIL", "nothing was checked"
    return ("PASS" if all(check.passed for check in findings.checks) else "FAIL"), summary(findings)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a part: its process, and servers that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            continue


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
