"""Verification results as text."""

from __future__ import annotations

from collections.abc import Iterable

from geminifusion_runtime.artifact import BackendReport


def verification_table(reports: Iterable[BackendReport]) -> str:
    """One line per backend and shape; errors are absolute. mIoU is there where frames with truth were compared."""
    head = (
        f"{'backend':<20}{'precision':<10}{'batch x H x W':<16}{'confidence max':>15}{'mean':>10}"
        f"{'gate max':>10}{'labels equal':>14}{'mIoU':>8}{'torch':>8}"
    )
    return "\n".join([head, *map(_line, reports)])


def _line(report: BackendReport) -> str:
    scores = "".join(f"{'-' if value is None else f'{value:.2f}':>8}" for value in (report.miou, report.reference_miou))
    return (
        f"{report.backend:<20}{report.precision:<10}{f'{report.batch} x {report.height} x {report.width}':<16}"
        f"{report.confidence_max_error:>15.2e}{report.confidence_mean_error:>10.1e}{report.gate_max_error:>10.1e}"
        f"{100 * report.label_agreement:>12.4f} %{scores}"
    )
