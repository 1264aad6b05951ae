"""Read every frame of every split once, then run each check."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from geminifusion_model.data.doctor.depth import check_depth
from geminifusion_model.data.doctor.files import check_files, label_code_of
from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.doctor.labels import check_labels
from geminifusion_model.data.doctor.leakage import check_leakage
from geminifusion_model.data.doctor.pairs import check_pairs
from geminifusion_model.data.doctor.traits import FrameTraits, observe
from geminifusion_model.data.frame_files import UnmappedLabelsError
from geminifusion_model.data.layout import LayoutError
from geminifusion_model.data.sample import Dataset, DatasetError

_UNREAD_SHOWN = 3  # of a split
_SEVERITY_ORDER = {"error": 0, "warning": 1}


def examine(
    datasets: Mapping[str, Dataset], on_frame: Callable[[], None] | None = None, *, partial: bool = False
) -> list[Finding]:
    """All findings about a data set, errors first.

    Args:
        datasets: the splits by name, all of one task.
        on_frame: called after each frame that was read.
        partial: they hold some of the frames only, so that a class may occur in others.
    """
    findings: list[Finding] = []
    observed: dict[str, list[FrameTraits]] = {}
    for split, dataset in datasets.items():
        frames: list[FrameTraits] = []
        unread: list[str] = []
        for index in range(len(dataset)):
            try:
                frames.append(observe(dataset[index], dataset.task))
            except UnmappedLabelsError as error:
                frames.append(observe(error.sample, dataset.task, error.unmapped))
            except DatasetError as error:
                unread.append(str(error))
            if on_frame is not None:
                on_frame()
        findings += _unread_findings(split, unread)
        if frames:
            observed[split] = frames
            findings += check_pairs(split, frames)
        else:
            findings.append(
                Finding(
                    severity="error",
                    code="empty-split",
                    split=split,
                    message="not one frame could be read",
                    advice="check the list and the files it names",
                )
            )
    if observed:
        task = next(iter(datasets.values())).task
        code = label_code_of(next(iter(datasets.values())))
        findings += check_depth(observed, task)
        findings += check_labels(observed, task, code, partial=partial)
        findings += check_leakage(observed)
    for split, dataset in datasets.items():
        findings += check_files(split, dataset)
    return sorted(findings, key=lambda finding: _SEVERITY_ORDER[finding.severity])


def _unread_findings(split: str, messages: list[str]) -> list[Finding]:
    """The first frames that could not be read; most often the others have the same fault."""
    shown = messages[:_UNREAD_SHOWN]
    if len(messages) > len(shown):
        shown[-1] += f" (and {len(messages) - len(shown)} more frames that cannot be read)"
    return [
        Finding(
            severity="error",
            code="unreadable-frame",
            split=split,
            message=message,
            advice="mend these files, or what the contract says of them",
        )
        for message in shown
    ]


def layout_findings(split: str, error: DatasetError) -> list[Finding]:
    """The problems that kept a split from being opened, one finding each."""
    problems = error.problems if isinstance(error, LayoutError) else (str(error),)
    advice = error.advice if isinstance(error, LayoutError) else "correct the arguments"
    return [
        Finding(severity="error", code="layout", split=split, message=problem, advice=advice) for problem in problems
    ]
