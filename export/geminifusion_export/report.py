"""Verification results as text."""

from __future__ import annotations

from collections.abc import Iterable

from geminifusion_export.artifact import BackendReport


def verification_table(reports: Iterable[BackendReport]) -> str:
    """One line per backend and shape; errors are absolute, against torch."""
    lines = [f"{'backend':<18}{'batch x H x W':<16}{'confidence max':>15}{'gate max':>12}{'labels equal':>14}"]
    lines += [
        f"{r.backend:<18}{f'{r.batch} x {r.height} x {r.width}':<16}{r.confidence_max_error:>15.2e}"
        f"{r.gate_max_error:>12.2e}{100 * r.label_agreement:>12.4f} %"
        for r in reports
    ]
    return "\n".join(lines)
