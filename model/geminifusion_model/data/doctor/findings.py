"""Findings of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One error or suspicion.

    Args:
        severity: an `error` spoils training or scores; a `warning` is worth a look and may be intended.
        code: a stable name such as `swapped-pair`.
        split: the split it is in; several joined by a plus sign.
        frames: the frames concerned, or none if all are.
        message: what was found, with numbers.
        advice: what to do about it.
    """

    severity: Literal["error", "warning"]
    code: str
    split: str
    message: str
    advice: str
    frames: tuple[str, ...] = ()

    def __str__(self) -> str:
        listed = ", ".join(self.frames[:_SHOWN])
        if len(self.frames) > _SHOWN:
            listed += f" and {len(self.frames) - _SHOWN} more"
        where = f"{self.split}: {listed}" if listed else self.split
        return f"{self.severity.upper():<8}{self.code} ({where})\n        {self.message}\n        -> {self.advice}"


def has_errors(findings: Sequence[Finding]) -> bool:
    """True if any finding is an error."""
    return any(finding.severity == "error" for finding in findings)
