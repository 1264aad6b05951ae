"""Read every frame of every split once, then run each check."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from geminifusion_model.data.doctor.depth import check_depth
from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.doctor.labels import check_labels
from geminifusion_model.data.doctor.leakage import check_leakage
from geminifusion_model.data.doctor.pairs import check_pairs
from geminifusion_model.data.doctor.traits import FrameTraits, observe
from geminifusion_model.data.layout import LayoutError
from geminifusion_model.data.sample import Dataset, DatasetError

_SEVERITY_ORDER = {"error": 0, "warning": 1}


def examine(datasets: Mapping[str, Dataset], on_frame: Callable[[], None] | None = None) -> list[Finding]:
    """All findings about a data set, errors first.

    Args:
        datasets: the splits by name, all of one task.
        on_frame: called after each frame that was read.
    """
    findings: list[Finding] = []
    observed: dict[str, list[FrameTraits]] = {}
    for split, dataset in datasets.items():
        frames = []
        for index in range(len(dataset)):
            try:
                frames.append(observe(dataset[index], dataset.task))
            except DatasetError as error:
                findings.append(
                    Finding(
                        severity="error",
                        code="unreadable-frame",
                        split=split,
                        message=str(error),
                        advice="repair the file or take the frame off the list",
                    )
                )
            if on_frame is not None:
                on_frame()
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
        findings += check_depth(observed, task) + check_labels(observed, task) + check_leakage(observed)
    return sorted(findings, key=lambda finding: _SEVERITY_ORDER[finding.severity])


def layout_findings(split: str, error: DatasetError) -> list[Finding]:
    """The problems that kept a split from being opened, one finding each."""
    problems = error.problems if isinstance(error, LayoutError) else (str(error),)
    advice = error.advice if isinstance(error, LayoutError) else "correct the arguments"
    return [
        Finding(severity="error", code="layout", split=split, message=problem, advice=advice) for problem in problems
    ]
