"""One evaluation as a self-contained HTML page: no script, font or image from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jinja2

from geminifusion_model.evaluation.diagrams import interval_bar, reliability_diagram
from geminifusion_model.evaluation.frame_images import UNKNOWN_COLOR, FrameSheet
from geminifusion_model.evaluation.full_report import FullReport
from geminifusion_model.evaluation.intervals import Interval
from geminifusion_model.evaluation.protocols import Protocol
from geminifusion_model.evaluation.robustness import RobustnessTable

_TEMPLATE = "html_report.html.jinja"


class _Tile(NamedTuple):
    name: str
    value: float
    note: str


class _ClassRow(NamedTuple):
    name: str
    color: tuple[int, int, int]
    iou: float
    interval: Interval
    accuracy: float
    boundary: float
    share: float  # of all labeled pixels, percent


@dataclass(frozen=True, kw_only=True)
class HtmlReport:
    """The content of the page.

    Args:
        title: the checkpoint, for example.
        subtitle: the frames, in words.
        facts: further lines for the foot of the page, by name.
    """

    title: str
    subtitle: str
    protocol: Protocol
    results: FullReport
    sheets: tuple[FrameSheet, ...] = ()
    robustness: RobustnessTable | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def to_html(self) -> str:
        """The whole page."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["number"] = _number
        task = self.results.task
        return environment.get_template(_TEMPLATE).render(
            report=self,
            results=self.results,
            scores=self.results.scores,
            intervals=self.results.intervals,
            robustness=self.robustness,
            tiles=_tiles(self.results),
            classes=_class_rows(self.results),
            legend=[*zip(task.class_names, task.palette, strict=True), ("unlabeled", UNKNOWN_COLOR)],
            interval_bar=interval_bar,
            reliability_diagram=reliability_diagram,
        )

    def write(self, path: Path) -> None:
        """Write the page; its folder is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.to_html(), encoding="utf-8")


def _number(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _tiles(results: FullReport) -> list[_Tile]:
    scores, boundary, accuracy = results.scores, results.boundary, results.intervals.pixel_accuracy
    error = (results.calibrated or results.reliability).expected_error()
    how = "at the fitted temperature" if results.calibrated else "no temperature fitted"
    return [
        _Tile("Pixel accuracy, %", scores.pixel_accuracy, f"{_number(accuracy.low)} to {_number(accuracy.high)}"),
        _Tile("Mean accuracy, %", scores.mean_accuracy, "over classes"),
        _Tile("Boundary F, %", boundary.mean(), f"within {100 * boundary.tolerance:g} % of diagonal"),
        _Tile("Calibration error, %", error, how),
    ]


def _class_rows(results: FullReport) -> list[_ClassRow]:
    """Best first, classes without a score last."""
    scores, task = results.scores, results.task
    pixels = scores.matrices.sum((0, 2))
    boundary = results.boundary.per_class()
    rows = [
        _ClassRow(
            name=name,
            color=task.palette[label],
            iou=scores.iou[label],
            interval=results.intervals.iou[label],
            accuracy=scores.class_accuracy[label],
            boundary=float(boundary[label]),
            share=100 * pixels[label] / max(int(pixels.sum()), 1),
        )
        for label, name in enumerate(task.class_names)
    ]
    return sorted(rows, key=lambda row: math.inf if math.isnan(row.iou) else -row.iou)
