"""The results of an evaluation as text, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geminifusion_model.evaluation.intervals import Interval, PairedDifference
from geminifusion_model.translation.evaluation import Contestant, TranslationEvaluation
from geminifusion_model.translation.metrics import Measure

NOT_PUBLISHED = (
    "Not comparable with published tables: those are of Taskonomy's sample building at 256x256, 300 epochs, networks "
    "in training mode, the best of all evaluations."
)


def evaluation_text(evaluation: TranslationEvaluation) -> str:
    """All results, one table for each network, then the comparison."""
    parts = [_network(evaluation, evaluation.first)]
    if evaluation.second is not None:
        parts += [_network(evaluation, evaluation.second), _comparison(evaluation, evaluation.differences())]
    parts.append(NOT_PUBLISHED)
    return "\n\n".join(parts)


def relations_text(relations: Mapping[str, str]) -> str:
    """A sentence on what ties each input to the target."""
    return "; ".join(f"{name}: {what}" for name, what in relations.items())


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in aligned columns, the first to the left."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = []
    for first, *others in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _network(evaluation: TranslationEvaluation, contestant: Contestant) -> str:
    scores, within = contestant.done(), evaluation.intervals(contestant)
    height, width = contestant.dataset.size
    head = ["output", *(measure.title for measure in scores.measures)]
    rows = [
        [output, *(number(scores.average(measure, output), measure) for measure in scores.measures)]
        for output in scores.values
    ]
    rows.append([f"95 % of {scores.kept}", *(_interval(within[found.name], found) for found in scores.measures)])
    lines = [
        f"{contestant.directory}: {contestant.title}, {len(scores.views)} views of {width}x{height}, "
        f"{contestant.dataset.views.data}, {evaluation.split}",
        columns(head, rows),
        f"inputs: {relations_text(contestant.relations())}",
    ]
    lines += [
        f"{found.space.frechet} {found.frechet:.2f}, {found.space.kernel} x100 {found.kernel:.2f}, of {found.images} "
        "images each"
        for found in scores.distances
    ]
    return "\n".join(lines)


def _comparison(evaluation: TranslationEvaluation, found: Mapping[str, PairedDifference]) -> str:
    second = evaluation.second
    assert second is not None
    rows = [
        [
            measure.title,
            f"{found[measure.name].value:+.{measure.digits}f}",
            _interval(found[measure.name].interval, measure),
            f"{found[measure.name].p_value:.3f}",
            f"{measure.better} is better",
        ]
        for measure in evaluation.first.done().measures
    ]
    draws = next(iter(found.values())).draws
    return (
        f"{evaluation.first.directory} less {second.directory}, {draws} paired draws of views (over views; another "
        f"training seed is not in it)\n" + columns(["", "difference", "95 %", "p", ""], rows)
    )


def number(value: float, measure: Measure) -> str:
    """A value with the digits of its measure, a dash for one that is not defined."""
    return "–" if value != value else f"{value:.{measure.digits}f}"


def _interval(within: Interval, measure: Measure) -> str:
    return f"{number(within.low, measure)} … {number(within.high, measure)}"
