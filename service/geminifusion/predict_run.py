"""Behind `geminifusion predict`: opens what the command line names, runs it, says what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .errors import ClientError, InvalidInputError
from .frame_run import Report, run
from .progress import Progress
from .segmenters import LocalSegmenter, Segmenter, ServedSegmenter
from .sinks.base import Sink, SinkRequest
from .sinks.clouds import frame_points
from .sinks.registry import open_sinks
from .sources.base import Source, SourceRequest, listed
from .sources.registry import open_source


@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """What `geminifusion predict` was asked for.

    Attributes:
        source: where the frames come from.
        artifact, url: where they are segmented: an artifact (None takes the bundled one), or a server.
        synthesizer: directory of a translator, for an artifact; None does without.
        options: those of the request; without a server those about the images.
        formats: names of `sinks.formats`.
        output: directory to write to.
        overlay_on: modality that overlays are drawn on.
        overwrite: replace what an earlier run wrote.
        limit: number of frames to take at most.
    """

    source: SourceRequest
    artifact: Path | None
    url: str | None
    options: Mapping[str, Any]
    formats: Sequence[str]
    output: Path
    overlay_on: str | None = None
    overwrite: bool = False
    limit: int | None = None
    synthesizer: Path | None = None


class FramesFailedError(ClientError):
    """Some frames have no result; the others have."""

    code = "frames_failed"


def run_predict(plan: PredictPlan) -> None:
    """Segment and write; prints the table of a single scene, and counts for more.

    Raises:
        ClientError, GeminiFusionError: the input, the output or the server cannot be used; of a single scene also why
            it has no result.
        FramesFailedError: some frames have none.
    """
    source = open_source(plan.source)
    try:
        if source.count == 1:
            _run_single(plan, source)
        else:
            _run_all(plan, source)
    finally:
        source.close()


def _run_single(plan: PredictPlan, source: Source) -> None:
    (frame,) = source.frames()
    segmenter = _segmenter(plan)
    try:
        result = segmenter.result(frame)
        sinks = _sinks(plan, source, segmenter, overwrite=True)
    finally:
        segmenter.close()
    click.echo(result.table())
    for warning in (*source.notes, *frame.warnings, *result.warnings):
        click.echo(f"warning: {warning}", err=True)
    paths = [path for sink in sinks for path in (*sink.write(frame, result), *sink.close())]
    for path in paths:
        click.echo(f"wrote {path}")


def _run_all(plan: PredictPlan, source: Source) -> None:
    if "request_id" in plan.options:
        raise InvalidInputError("a request id names one request, and there are several frames; leave it out")
    for note in source.notes:
        click.echo(f"note: {note}", err=True)
    num_notes = len(source.notes)
    segmenter = _segmenter(plan)
    try:
        sinks = _sinks(plan, source, segmenter, overwrite=plan.overwrite)
        report = run(source, segmenter, sinks, plan.output, limit=plan.limit, progress=_progress(source, plan.limit))
    finally:
        segmenter.close()
    for note in source.notes[num_notes:]:
        click.echo(f"note: {note}", err=True)
    _tell(plan, report)


def _segmenter(plan: PredictPlan) -> Segmenter:
    if plan.url:
        return ServedSegmenter(plan.url, plan.options)
    return LocalSegmenter(plan.artifact, plan.options, synthesizer=plan.synthesizer)


def _sinks(plan: PredictPlan, source: Source, segmenter: Segmenter, *, overwrite: bool) -> list[Sink]:
    plan.output.mkdir(parents=True, exist_ok=True)
    request = SinkRequest(
        directory=plan.output,
        name=source.name,
        classes=segmenter.classes,
        period_s=source.period_s,
        overlay_on=plan.overlay_on,
        overwrite=overwrite,
        points=frame_points,
    )
    return open_sinks(plan.formats, request)


def _progress(source: Source, limit: int | None) -> Progress:
    counts = [count for count in (source.count, limit) if count is not None]
    return Progress(min(counts, default=None))


def _tell(plan: PredictPlan, report: Report) -> None:
    for warning, count in report.warnings.items():
        click.echo(f"warning: {warning} ({count} frame{'s' if count > 1 else ''})", err=True)
    if report.num_other_warnings:
        click.echo(f"warning: {report.num_other_warnings} more; --format jsonl has those of each frame", err=True)
    ended = "interrupted: " if report.is_interrupted else ""
    kept = f", {report.num_kept} kept from an earlier run (--overwrite segments them anew)" if report.num_kept else ""
    click.echo(f"{ended}{report.num_segmented} frames segmented{kept}")
    if report.num_files:
        click.echo(f"wrote {report.num_files} files in {plan.output}")
    for path in report.paths:
        click.echo(f"wrote {path}")
    if report.num_failed:
        raise FramesFailedError(
            f"{report.num_failed} frames have no result ({listed(report.failed, most=3)}); run the same command again "
            "for those alone"
        )
