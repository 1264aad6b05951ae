"""The evaluation of a detector, or of result files, on a split of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geminifusion_model.checkpoint import CONFIG_NAME, weights_sha256
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.checkpoint import DetectorInfo, read_detector, write_detector
from geminifusion_model.detection.config import KITTI_ANCHORS
from geminifusion_model.detection.data.frame import DetectionFrames
from geminifusion_model.detection.data.kitti import KittiFrames
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.evaluation.detecting import Change, detect_all, read_result, read_results
from geminifusion_model.detection.evaluation.intervals import interval, paired_difference
from geminifusion_model.detection.evaluation.kitti_ap import CellName, KittiScores, kitti_scores
from geminifusion_model.detection.evaluation.report import (
    differences_text,
    headline,
    intervals_text,
    robustness_text,
    scores_record,
    scores_text,
)
from geminifusion_model.detection.evaluation.robustness import CHANGES
from geminifusion_model.evaluation.evaluation_run import EvaluationError
from geminifusion_model.evaluation.intervals import Interval, PairedDifference

_DIGITS = 5


class Contestant:
    """A checkpoint's detector, or a folder of result files.

    Raises:
        CheckpointError: the directory is no checkpoint of a detector, though it has a `config.json`.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self.info: DetectorInfo | None = None
        self.net: Detector | None = None
        if (source / CONFIG_NAME).is_file():
            self.info = read_detector(source)
            self.net = Detector.from_pretrained(source)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What it tells apart; KITTI's three where only results are known."""
        return (KITTI_ANCHORS if self.net is None else self.net.config.anchors).class_names

    def check(self, frames: KittiFrames) -> None:
        """Check that there is a result file for every frame, unless a detector will look for itself.

        Raises:
            DatasetError: one is missing or damaged.
        """
        if self.net is None:
            for name in frames.names:
                read_result(self.source, name)

    def scores(
        self,
        frames: DetectionFrames,
        class_names: tuple[str, ...],
        *,
        change: Change | None = None,
        results: Path | None = None,
        on_frame: Callable[[int], None] | None = None,
    ) -> KittiScores:
        """Detect, or read what was detected, and score it.

        Raises:
            DatasetError: a file of the data or of the results is missing or damaged.
        """
        if self.net is None or self.info is None:
            labeled = read_results(self.source, frames)
        else:
            size = self.info.task.image_size
            labeled = detect_all(self.net, frames, size, change=change, results=results, on_frame=on_frame)
        return kitti_scores(labeled, class_names)


@dataclass
class DetectionEvaluation:
    """Scores of a source on a split, and of another to compare it with.

    Args:
        source: a checkpoint's directory, or a folder of result files in KITTI's form.
        data: a folder in KITTI's layout.
        split: a list in its `ImageSets`.
        limit: only the first frames.
        against: as `source`.
        seed: of the bootstrap.

    Raises:
        CheckpointError: see `Contestant`.
        LayoutError: see `KittiFrames`.
        DatasetError: a result file is missing or damaged.
        EvaluationError: the other detector does not tell the same classes apart.
    """

    source: Path
    data: Path
    split: str = "val"
    limit: int | None = None
    against: Path | None = None
    seed: int = 0
    scores: KittiScores | None = field(default=None, init=False)
    intervals: dict[str, Interval] = field(default_factory=dict, init=False)
    differences: dict[str, PairedDifference] = field(default_factory=dict, init=False)
    by_change: dict[str, KittiScores] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.first = Contestant(self.source)
        self.second = None if self.against is None else Contestant(self.against)
        if self.second is not None and self.second.net is not None:
            lacking = [name for name in self.first.class_names if name not in self.second.class_names]
            if lacking:
                raise EvaluationError(
                    f"{self.against} finds {', '.join(self.second.class_names)} and no {lacking[0]}, which "
                    f"{self.source} finds; compare detectors of the same classes"
                )
        self.frames = KittiFrames(self.data, self.split, limit=self.limit)
        for each in (self.first, self.second):
            if each is not None:
                each.check(self.frames)

    def run(
        self,
        *,
        robustness: bool = False,
        bootstrap: bool = True,
        results: Path | None = None,
        on_frame: Callable[[int], None] | None = None,
    ) -> None:
        """Score everything.

        Args:
            robustness: also with each of `CHANGES`.
            bootstrap: also intervals, and paired differences if there is another source.
            results: a folder for the result files of the source, which has to be a checkpoint.
            on_frame: called once for every frame that a detector has seen.

        Raises:
            DatasetError: a file is missing or damaged, or result files are to be written or changed of result files.
            EvaluationError: there is another source and no bootstrap to compare by.
        """
        if robustness or results is not None:
            self.require_detector()
        if self.second is not None and not bootstrap:
            raise EvaluationError(
                f"{self.against} is compared by a paired bootstrap, which is to be left out; leave out one of the two"
            )
        names = self.first.class_names
        self.scores = self.first.scores(self.frames, names, results=results, on_frame=on_frame)
        if bootstrap:
            cells = {name: CellName(name, "moderate", "3d") for name in names}
            self.intervals = {name: interval(self.scores, cell, seed=self.seed) for name, cell in cells.items()}
            if self.second is not None:
                other = self.second.scores(self.frames, names, on_frame=on_frame)
                self.differences = {
                    name: paired_difference([self.scores.cells[cell]], [other.cells[cell]], seed=self.seed)
                    for name, cell in cells.items()
                }
        if robustness:
            self.by_change = {"as it is": self.scores}
            for title, change in CHANGES.items():
                self.by_change[title] = self.first.scores(self.frames, names, change=change, on_frame=on_frame)

    def require_detector(self) -> tuple[Detector, DetectorInfo]:
        """The detector that is scored.

        Raises:
            DatasetError: result files are.
        """
        if self.first.net is None or self.first.info is None:
            raise DatasetError(f"{self.source} holds results and no detector; give a checkpoint for what needs one")
        return self.first.net, self.first.info

    def to_text(self) -> str:
        """Everything that was scored."""
        assert self.scores is not None, "run() comes first"
        names = self.first.class_names
        parts = [scores_text(self.scores, names)]
        if self.intervals:
            parts.append(intervals_text(self.intervals))
        if self.differences:
            parts.append(differences_text(self.differences))
        if self.by_change:
            parts.append(robustness_text(self.by_change, names))
        return "\n\n".join(parts)

    def to_record(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        assert self.scores is not None, "run() comes first"
        return {
            "source": str(self.source),
            "weights_sha256": None if self.first.net is None else weights_sha256(self.source),
            "data": self.frames.data,
            **scores_record(self.scores),
            "intervals": {name: [each.low, each.high] for name, each in self.intervals.items()},
            "differences": {
                name: {"value": each.value, "low": each.interval.low, "high": each.interval.high, "p": each.p_value}
                for name, each in self.differences.items()
            },
            "robustness": {title: scores_record(each) for title, each in self.by_change.items()},
        }

    def record(self) -> dict[str, Any]:
        """Write the headline figures into the checkpoint's training record; returns what was written.

        Raises:
            DatasetError: the source is no checkpoint.
        """
        assert self.scores is not None, "run() comes first"
        net, info = self.require_detector()
        figures = headline(self.scores, self.first.class_names)
        result: dict[str, Any] = {
            "test": {
                "data": f"{self.frames.data}, {self.split}, {len(self.frames)} frames",
                "protocol": "KITTI 3-D AP R40, moderate",
                "average_precision": {
                    name: round(each.r40, _DIGITS) for name, each in figures.items() if not math.isnan(each.r40)
                },
            }
        }
        written = DetectorInfo(network=info.network, task=info.task, training={**info.training, **result})
        write_detector(self.source, net.state_dict(), written)
        return result
