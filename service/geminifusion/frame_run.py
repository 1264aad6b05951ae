"""Frames of a source through a segmenter into sinks."""

from __future__ import annotations

import errno
import itertools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ClientError
from .progress import Progress
from .results import Result
from .segmenters import Outcome, Segmenter
from .sinks.base import DiskFullError, FrameError, Sink
from .sources.base import Source, SourceFrame

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MOST_WARNINGS = 5  # different ones that are shown


@dataclass(kw_only=True)
class Report:
    """What a run did.

    Attributes:
        num_segmented: frames with a result.
        num_kept: frames whose results an earlier run wrote.
        failed: frames without a result, and why; the first few.
        num_failed: how many those are.
        paths: files that hold all frames, and the files of a single frame.
        num_files: files of single frames.
        warnings: sentences about frames, each with the number of frames; the first few.
        num_other_warnings: frames with other sentences.
        is_interrupted: somebody ended it.
    """

    num_segmented: int = 0
    num_kept: int = 0
    num_failed: int = 0
    failed: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    num_files: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    num_other_warnings: int = 0
    is_interrupted: bool = False

    def warn(self, sentences: Sequence[str]) -> None:
        """Count sentences."""
        for sentence in sentences:
            if sentence in self.warnings or len(self.warnings) < _MOST_WARNINGS:
                self.warnings[sentence] = self.warnings.get(sentence, 0) + 1
            else:
                self.num_other_warnings += 1


def run(
    source: Source,
    segmenter: Segmenter,
    sinks: Sequence[Sink],
    directory: Path,
    *,
    limit: int | None,
    progress: Progress,
) -> Report:
    """Segment every frame that a sink lacks, up to `limit` of them, and write the results.

    Args:
        source, segmenter, sinks: open ones; the sinks are closed.
        directory: where the sinks write.
        limit: number of frames to take at most; None takes all.
        progress: is told of every frame.

    Raises:
        DiskFullError: the results do not fit, or no longer.
        ClientError: the stream to a server breaks.
    """
    report = Report()
    try:
        wanted = _lacking(itertools.islice(source.frames(), limit), sinks, report, progress)
        for frame, outcome in segmenter.outcomes(wanted):
            if isinstance(outcome, Result):
                if not report.num_segmented:
                    _check_room(directory, sinks, outcome, _remaining(source, limit, report))
                _write(frame, outcome, sinks, report)
            else:
                _fail(frame, outcome, sinks, report)
            progress.step()
    except KeyboardInterrupt:
        report.is_interrupted = True
    except BaseException as error:
        for sink in sinks:
            with suppress(OSError):
                sink.close()
        if isinstance(error, OSError) and error.errno in _FULL:
            raise _disk_full(directory, report) from error
        raise
    finally:
        progress.end()
    try:
        report.paths += [path for sink in sinks for path in sink.close()]
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(directory, report) from error
        raise
    return report


def _lacking(
    frames: Iterator[SourceFrame], sinks: Sequence[Sink], report: Report, progress: Progress
) -> Iterator[SourceFrame]:
    """The frames that a sink has no result of."""
    for frame in frames:
        if sinks and all(sink.has(frame) for sink in sinks):
            report.num_kept += 1
            progress.step(skipped=True)
        else:
            yield frame


def _write(frame: SourceFrame, result: Result, sinks: Sequence[Sink], report: Report) -> None:
    for sink in sinks:
        report.num_files += len(sink.write(frame, result))
    report.warn((*frame.warnings, *result.warnings))
    report.num_segmented += 1


def _fail(frame: SourceFrame, error: Outcome, sinks: Sequence[Sink], report: Report) -> None:
    told = FrameError(str(error), code=getattr(error, "code", None))
    for sink in sinks:
        sink.failed(frame, told)
    report.num_failed += 1
    if len(report.failed) < _MOST_WARNINGS:
        report.failed.append(f"{frame.name}: {told.message}")


def _remaining(source: Source, limit: int | None, report: Report) -> int:
    counts = [count for count in (source.count, limit) if count is not None]
    return max(1, min(counts) - report.num_kept) if counts else 1


def _check_room(directory: Path, sinks: Sequence[Sink], result: Result, num_frames: int) -> None:
    """Check on the first result that those of all frames fit on the disk.

    Raises:
        DiskFullError: they do not.
    """
    needed = num_frames * result.labels.size * sum(sink.bytes_per_pixel for sink in sinks)
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise DiskFullError(
            f"{num_frames} frames need at least {needed / 1e6:.0f} MB in {directory}, and {free / 1e6:.0f} MB are "
            "free; free some, give another --output, or fewer --format"
        )


def _disk_full(directory: Path, report: Report) -> ClientError:
    return DiskFullError(
        f"the disk of {directory} is full after {report.num_segmented} frames; free some and run the same command "
        "again: files of single frames that are there are kept"
    )
