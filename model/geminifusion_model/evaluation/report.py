"""One self-contained HTML file about one evaluation: no script, no font and no picture from outside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

from geminifusion_model.evaluation.calibration import Reliability
from geminifusion_model.evaluation.diagrams import interval_bar, reliability_diagram
from geminifusion_model.evaluation.full_report import Examination
from geminifusion_model.evaluation.metrics import class_mean
from geminifusion_model.evaluation.pictures import FrameSheet
from geminifusion_model.evaluation.protocols import Protocol
from geminifusion_model.evaluation.robustness import RobustnessTable

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">GeminiFusion evaluation</p>
<h1>$title</h1>
<p>$subtitle</p>
</header>
$body
<footer>
<h2>Where these numbers come from</h2>
<dl>$facts</dl>
</footer>
</main>
</body>
</html>
""")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page shows.

    Args:
        title: the checkpoint, for example.
        subtitle: the frames, in words.
        facts: further lines for the foot of the page, by name.
    """

    title: str
    subtitle: str
    protocol: Protocol
    examination: Examination
    sheets: tuple[FrameSheet, ...] = ()
    robustness: RobustnessTable | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def to_html(self) -> str:
        """The whole page."""
        sections = [_tiles(self.examination), _protocol(self.protocol, self.examination), _classes(self.examination)]
        sections.append(_calibration(self.examination))
        if self.examination.depth_bins is not None:
            sections.append(_depth(self.examination))
        if self.robustness is not None:
            sections.append(_robustness(self.robustness))
        if self.sheets:
            sections.append(_sheets(self.sheets, self.examination))
        return _PAGE.substitute(
            title=escape(self.title),
            subtitle=escape(self.subtitle),
            style=Path(__file__).with_name("report.css").read_text(encoding="utf-8"),
            body="\n".join(sections),
            facts="".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in self.facts.items()),
        )

    def write(self, path: Path) -> None:
        """Write the page; its folder is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.to_html(), encoding="utf-8")


def _number(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _row(cells: Iterable[str], kind: str = "") -> str:
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _table(head: Iterable[str], rows: Iterable[str]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f'<div class="card"><table><thead><tr>{titles}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"


def _section(title: str, explanation: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(explanation)}</p>{content}</section>"


def _tiles(examination: Examination) -> str:
    scores, intervals = examination.scores, examination.intervals
    within = intervals.miou
    error = (examination.calibrated or examination.reliability).expected_error()
    how = "at the fitted temperature" if examination.calibrated else "no temperature fitted"
    first = (
        f'<div class="tile first card"><span>mIoU, %</span><b>{_number(scores.miou)}</b>'
        f"{interval_bar(scores.miou, within.low, within.high)}"
        f"<small>95 % interval {_number(within.low)} to {_number(within.high)}, {scores.frames} frames</small></div>"
    )
    accuracy = intervals.pixel_accuracy
    rest = (
        ("Pixel accuracy, %", scores.pixel_accuracy, f"{_number(accuracy.low)} to {_number(accuracy.high)}"),
        ("Mean accuracy, %", scores.mean_accuracy, "over classes"),
        (
            "Boundary F, %",
            examination.boundary.mean(),
            f"within {100 * examination.boundary.tolerance:g} % of diagonal",
        ),
        ("Calibration error, %", error, how),
    )
    tiles = "".join(
        f'<div class="tile card"><span>{escape(name)}</span><b>{_number(value)}</b><small>{escape(note)}</small></div>'
        for name, value, note in rest
    )
    return f'<div class="tiles">{first}{tiles}</div>'


def _protocol(protocol: Protocol, examination: Examination) -> str:
    name = escape(examination.scores.protocol)
    return f'<div class="protocol card"><b>{name}</b> &nbsp; {escape(protocol.describe())}</div>'


def _classes(examination: Examination) -> str:
    scores, task = examination.scores, examination.task
    pixels = scores.matrices.sum((0, 2))
    edges = examination.boundary.per_class()
    rows = []
    for label in sorted(range(len(task.class_names)), key=lambda k: _last_if_nan(scores.iou[k])):
        colour = "#{:02x}{:02x}{:02x}".format(*task.palette[label])
        within = examination.intervals.iou[label]
        rows.append(
            _row(
                (
                    _cell(f'<i class="swatch" style="background:{colour}"></i>{escape(task.class_names[label])}'),
                    _cell(_number(scores.iou[label])),
                    _cell(interval_bar(scores.iou[label], within.low, within.high), "wide"),
                    _cell(_number(scores.class_accuracy[label])),
                    _cell(_number(float(edges[label]))),
                    _cell(f"{100 * pixels[label] / max(int(pixels.sum()), 1):.1f} %", "quiet"),
                )
            )
        )
    rows.append(
        _row(
            (
                _cell("mean"),
                _cell(_number(scores.miou)),
                _cell(
                    interval_bar(scores.miou, examination.intervals.miou.low, examination.intervals.miou.high), "wide"
                ),
                _cell(_number(scores.mean_accuracy)),
                _cell(_number(float(class_mean(edges)))),
                _cell("", "quiet"),
            ),
            ' class="mean"',
        )
    )
    explanation = (
        f"Best first. Whiskers are 95 % intervals from {examination.intervals.draws} bootstrap draws of frames: how "
        "far the score would move with other frames of the same kind."
    )
    head = ("class", "IoU", "", "accuracy", "boundary F", "pixels")
    return _section("Classes", explanation, _table(head, rows))


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else -value


def _calibration(examination: Examination) -> str:
    diagrams = [_reliability(examination.reliability, "As trained")]
    temperature = examination.temperature
    if temperature is not None and examination.calibrated is not None:
        title = f"At temperature {temperature.value:.2f}, fitted on {temperature.data} ({temperature.frames} frames)"
        diagrams.append(_reliability(examination.calibrated, title))
    explanation = (
        "Of the pixels given this confidence, how many are right? Bars are stronger where more pixels are; the hatched "
        "gap to the dashed line is over- or under-confidence."
    )
    return _section("Confidence", explanation, f'<div class="pair">{"".join(diagrams)}</div>')


def _reliability(reliability: Reliability, title: str) -> str:
    caption = f"<b>{escape(title)}</b><br>expected calibration error {_number(reliability.expected_error())} %"
    return f'<figure class="card">{reliability_diagram(reliability)}<figcaption>{caption}</figcaption></figure>'


def _depth(examination: Examination) -> str:
    assert examination.depth_bins is not None
    rows = (
        _row(
            (
                _cell(escape(bin_.name)),
                _cell(_number(bin_.miou)),
                _cell(interval_bar(bin_.miou), "wide"),
                _cell(f"{bin_.share:.1f} %", "quiet"),
            )
        )
        for bin_ in examination.depth_bins.rows()
    )
    return _section(
        "Distance",
        "mIoU over the pixels whose measured depth lies in each range, and over those the sensor did not measure.",
        _table(("depth", "mIoU", "", "pixels"), rows),
    )


def _robustness(table: RobustnessTable) -> str:
    rows = (
        _row(
            (
                _cell(escape(condition.name)),
                _cell(_number(value)),
                _cell(interval_bar(value), "wide"),
                _cell(f"{_number(table.kept(condition), 0)} %", "quiet"),
            )
        )
        for condition, value in table.miou.items()
    )
    summary = table.summary()
    means = (
        _row((_cell(escape(name)), *(_cell(_number(value)) for value in values.values())))
        for name, values in summary.items()
    )
    explanation = "The scheme of arXiv:2503.18445: NM, all modalities noisy."
    if summary:
        explanation = (
            "The scheme of arXiv:2503.18445: EMM, modalities missing altogether; RMM, a share of their values missing; "
            "NM, all modalities noisy. Avg is the mean over all combinations, E(p) the expectation when each modality "
            "fails with probability p."
        )
    explanation += f" {table.frames} frames, protocol {table.protocol}, seed {table.seed}."
    content = _table(("condition", "mIoU", "", "of intact"), rows)
    if summary:
        content += _table(("mean mIoU", *summary["EMM"]), means)
    return _section("When sensors fail", explanation, content)


def _sheets(sheets: tuple[FrameSheet, ...], examination: Examination) -> str:
    task = examination.task
    legend = "".join(
        f'<li><i class="swatch" style="background:#{r:02x}{g:02x}{b:02x}"></i>{escape(name)}</li>'
        for name, (r, g, b) in zip(task.class_names, task.palette, strict=True)
    )
    content = [f'<ul class="legend">{legend}<li><i class="swatch" style="background:#202226"></i>unlabelled</li></ul>']
    for sheet in sheets:
        figures = "".join(
            f'<figure><img src="{picture.address}" alt="{escape(picture.caption)} of frame {escape(sheet.name)}">'
            f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
            for picture in sheet.pictures
        )
        title = f"{escape(sheet.name)} <span>&nbsp;{_number(sheet.accuracy)} % of pixels right</span>"
        content.append(f'<div class="sheet card"><h3>{title}</h3><div class="strip">{figures}</div></div>')
    explanation = (
        "Frames at equal steps of the ranking by pixel accuracy, from the worst to the best of the split. The gate, if "
        "there is one, is how much the RGB stream attends to the other modality, stretched to the range in its caption."
    )
    return _section("Frames", explanation, "".join(content))
