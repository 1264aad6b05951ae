"""The reference pages of settings, errors and metrics, as Markdown made from the code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from geminifusion_service.errors import ERRORS
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.setting_fields import Setting
from geminifusion_service.settings import ALL_SETTINGS, GROUPS, group_heading


@dataclass(frozen=True, kw_only=True)
class MetricDescription:
    """One metric as `/metrics` exposes it."""

    name: str
    kind: str  # counter, gauge or histogram
    labels: tuple[str, ...]
    help: str


def describe_metrics() -> Iterator[MetricDescription]:
    """The service's own metrics, in the order of their definition."""
    metrics = Metrics()
    for one in [*vars(metrics).values(), *vars(metrics.models).values()]:
        if isinstance(one, MetricWrapperBase):
            (family,) = one.describe()
            yield MetricDescription(
                name=family.name + ("_total" if family.type == "counter" else ""),
                kind=family.type,
                labels=tuple(one._labelnames),  # the library has no public name for it
                help=family.documentation,
            )


def settings_page() -> str:
    """One table for each group of settings."""
    head = ("Option", "Environment variable", "Default", "Values", "Meaning")
    parts = []
    for group in GROUPS:
        rows = [
            (
                f"`{setting.option}`",
                f"`{setting.environment_variable}`",
                _default(setting),
                setting.expected,
                setting.help,
            )
            for setting in ALL_SETTINGS
            if setting.group == group
        ]
        parts.append(f"## {group_heading(group)}\n\n{table(head, rows)}")
    return "\n".join(parts)


def errors_page() -> str:
    """One table of all errors; parents before children."""
    return table(
        ("Code", "HTTP", "gRPC", "Retry", "Python class", "Meaning"),
        (
            (
                f"`{code}`",
                str(int(error.http_status)),
                error.grpc_status,
                "" if error.retry_after_s is None else "yes",
                f"`{error.__name__}`",
                " ".join((error.__doc__ or "").split()),
            )
            for code, error in ERRORS.items()
        ),
    )


def metrics_page() -> str:
    """One table of all metrics."""
    return table(
        ("Metric", "Type", "Labels", "Meaning"),
        (
            (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.help)
            for one in describe_metrics()
        ),
    )


def _default(setting: Setting) -> str:
    if setting.name == "artifacts":
        return "the bundled one"
    text = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
    return f"`{text}`" if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, a line for each row."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
