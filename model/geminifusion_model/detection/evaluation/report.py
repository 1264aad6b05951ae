"""Figures of a detector as text and as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from geminifusion_model.detection.evaluation.kitti_ap import (
    LOOSE_MIN_OVERLAPS,
    MIN_OVERLAPS,
    CellName,
    Figures,
    KittiScores,
)
from geminifusion_model.detection.evaluation.matching import DIFFICULTIES
from geminifusion_model.evaluation.intervals import Interval, PairedDifference

TITLES = {"2d": "2-D", "bev": "BEV", "3d": "3-D"}


def scores_text(scores: KittiScores, class_names: Sequence[str]) -> str:
    """All figures in lines of easy, moderate and hard, and the number of objects; with warnings."""
    counts = scores.counts()
    lines = [f"{scores.num_frames} frames; average precision in per cent, easy / moderate / hard"]
    for class_name in class_names:
        objects = " / ".join(str(counts[class_name, each.name]) for each in DIFFICULTIES)
        lines.append(f"\n{class_name}: {objects} objects")
        lines.append(f"  {'':12}{'R40':>24}{'R11':>24}{'all-point':>24}")
        for loose, metric in _rows(scores):
            figures = [scores.cells[CellName(class_name, each.name, metric, loose)].figures() for each in DIFFICULTIES]
            overlap = (LOOSE_MIN_OVERLAPS if loose else MIN_OVERLAPS).get(class_name, 0.5)
            title = f"{TITLES[metric]} @{overlap:g}"
            lines.append("  " + f"{title:12}" + "".join(_three(figures, name) for name in ("r40", "r11", "all_point")))
            if metric == "2d":
                lines.append("  " + f"{'AOS':12}" + _three(figures, "aos_r40") + _three(figures, "aos_r11"))
    lines += ["", *(f"warning: {warning}" for warning in scores.warnings())]
    return "\n".join(lines)


def scores_record(scores: KittiScores) -> dict[str, Any]:
    """All figures as plain data for JSON; None where a figure is not defined."""
    return {
        "frames": scores.num_frames,
        "objects": {f"{name} {difficulty}": count for (name, difficulty), count in scores.counts().items()},
        "figures": [
            {
                "class": name.class_name,
                "difficulty": name.difficulty,
                "metric": name.metric,
                "min_overlap": (LOOSE_MIN_OVERLAPS if name.loose else MIN_OVERLAPS).get(name.class_name, 0.5),
                **{key: _known(value) for key, value in cell.figures()._asdict().items()},
            }
            for name, cell in scores.cells.items()
        ],
        "warnings": scores.warnings(),
    }


def headline(scores: KittiScores, class_names: Sequence[str], *, loose: bool = False) -> dict[str, Figures]:
    """The figures in 3-D, moderate, by class."""
    return {name: scores.cells[CellName(name, "moderate", "3d", loose)].figures() for name in class_names}


def robustness_text(by_change: Mapping[str, KittiScores], class_names: Sequence[str]) -> str:
    """A line for each change of the sensors: all-point average precision in 3-D, moderate, at the looser overlap."""
    lines = [f"all-point 3-D AP, moderate, looser overlaps\n  {'':24}" + "".join(f"{name:>12}" for name in class_names)]
    for change, scores in by_change.items():
        figures = headline(scores, class_names, loose=True)
        lines.append(f"  {change:24}" + "".join(f"{_shown(figures[name].all_point):>12}" for name in class_names))
    return "\n".join(lines)


def intervals_text(found: Mapping[str, Interval]) -> str:
    """95 % intervals over frames by class."""
    return "3-D AP R40, moderate, 95 % over frames: " + "; ".join(f"{name} {each}" for name, each in found.items())


def differences_text(found: Mapping[str, PairedDifference]) -> str:
    """Paired differences by class."""
    return "less the other, 3-D AP R40, moderate, paired: " + "; ".join(
        f"{name} {each.value:+.2f} ({each.interval}), p = {each.p_value:.3f}" for name, each in found.items()
    )


def _rows(scores: KittiScores) -> list[tuple[bool, Any]]:
    seen = dict.fromkeys((name.loose, name.metric) for name in scores.cells)
    return list(seen)


def _three(figures: Sequence[Figures], measure: str) -> str:
    return f"{' / '.join(_shown(getattr(each, measure)) for each in figures):>24}"


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
