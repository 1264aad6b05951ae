"""KITTI's average precision, as its devkit computes it (arXiv and benchmark: Geiger et al., CVPR 2012; R40:
Simonelli et al., arXiv:1905.12365), and the all-point interpolated one beside it.

With n objects there are at most n thresholds, so perfect detections of few objects score (n - 1)/40 in R40. The
all-point measure has no such cap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.detection.data.labels import KittiObjects
from geminifusion_model.detection.evaluation.matching import (
    DIFFICULTIES,
    METRICS,
    FrameOutcome,
    Metric,
    frame_outcome,
    frame_overlaps,
)

CAPPED_BELOW = 41  # objects: below, KITTI's measures cannot reach 100
UNSTEADY_BELOW = 300  # objects: below, one more or less moves them by points
MIN_OVERLAPS = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
LOOSE_MIN_OVERLAPS = {"car": 0.5, "pedestrian": 0.25, "cyclist": 0.25}
"""The second set, for `bev` and `3d` only; in the image it is the first."""

_STEPS = 41  # of recall, 1/40 apart
_R11, _R40 = slice(0, _STEPS, 4), slice(1, _STEPS)


class Labeled(NamedTuple):
    """The labels of a frame and what was detected in it."""

    truth: KittiObjects
    found: KittiObjects


class CellName(NamedTuple):
    """What one figure is of."""

    class_name: str
    difficulty: str
    metric: Metric
    loose: bool = False


class Figures(NamedTuple):
    """Percentages; orientation (AOS) is that of the image metric and NaN for the others."""

    r11: float
    r40: float
    all_point: float
    aos_r11: float
    aos_r40: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """The outcomes of all frames for one class, difficulty and metric.

    Attributes:
        num_objects: that count, `F` of each frame.
        first_frames, first_scores: the surest detections of objects, whose scores the thresholds are taken from.
        frames, scores, changes: what lowering the threshold to a score changes, descending by score; `changes` as
            `FrameOutcome` has them.
    """

    num_objects: NDArray[np.int64]
    first_frames: NDArray[np.int64]
    first_scores: NDArray[np.float64]
    frames: NDArray[np.int64]
    scores: NDArray[np.float64]
    changes: NDArray[np.float64]
    oriented: bool

    @classmethod
    def of(cls, outcomes: Sequence[FrameOutcome], *, oriented: bool) -> Cell:
        """Put the frames' outcomes together."""
        scores = np.concatenate([each.scores for each in outcomes])
        order = np.argsort(-scores, kind="stable")
        return cls(
            num_objects=np.array([each.num_objects for each in outcomes], np.int64),
            first_frames=_repeated([len(each.first_scores) for each in outcomes]),
            first_scores=np.concatenate([each.first_scores for each in outcomes]),
            frames=_repeated([len(each.scores) for each in outcomes])[order],
            scores=scores[order],
            changes=np.concatenate([each.changes for each in outcomes])[order],
            oriented=oriented,
        )

    def curves(self, times: NDArray[np.integer] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Precision and orientation similarity at the 41 steps of recall, `41` each, made monotone.

        Args:
            times: `F`, how often each frame counts; once if None.
        """
        times = np.ones(len(self.num_objects), np.int64) if times is None else times
        firsts = np.repeat(self.first_scores, times[self.first_frames])
        levels = thresholds(firsts, int((self.num_objects * times).sum()))
        totals = self._totals(times)[np.searchsorted(-self.scores, -levels, side="right")]
        curves = np.zeros((2, _STEPS))
        sums = (totals[:, 0] + totals[:, 1]).clip(min=1)
        curves[:, : len(levels)] = totals[:, 0] / sums, totals[:, 2] / sums
        precision, similarity = np.maximum.accumulate(curves[:, ::-1], axis=1)[:, ::-1]
        return precision, similarity

    def figures(self, times: NDArray[np.integer] | None = None) -> Figures:
        """All averages; `times` as for `curves`."""
        precision, similarity = self.curves(times)
        aos = (100 * similarity[_R11].mean(), 100 * similarity[_R40].mean()) if self.oriented else (np.nan, np.nan)
        return Figures(
            100 * precision[_R11].mean(),
            100 * precision[_R40].mean(),
            self.all_point(times),
            float(aos[0]),
            float(aos[1]),
        )

    def all_point(self, times: NDArray[np.integer] | None = None) -> float:
        """The area under the monotone precision over recall, at every score, in per cent; NaN without an object."""
        times = np.ones(len(self.num_objects), np.int64) if times is None else times
        number = int((self.num_objects * times).sum())
        if not number:
            return float("nan")
        ends = np.append(self.scores[1:] != self.scores[:-1], True) if len(self.scores) else np.zeros(0, bool)
        hits, misses, _ = self._totals(times)[1:][ends].T
        recall = hits / number
        order = np.argsort(recall, kind="stable")
        precision = (hits / (hits + misses).clip(min=1))[order]
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float(100 * (np.diff(recall[order], prepend=0.0) * envelope).sum())

    def _totals(self, times: NDArray[np.integer]) -> NDArray[np.float64]:
        """Counts after 0, 1, … of the changes."""
        weighted = self.changes * times[self.frames, None]
        return np.concatenate([np.zeros((1, 3)), np.cumsum(weighted, axis=0)])


@dataclass(frozen=True, kw_only=True, eq=False)
class KittiScores:
    """The figures of a detector on frames, by what they are of."""

    num_frames: int
    cells: dict[CellName, Cell]

    def counts(self) -> dict[tuple[str, str], int]:
        """Objects that count, by class and difficulty."""
        return {
            (name.class_name, name.difficulty): int(cell.num_objects.sum())
            for name, cell in self.cells.items()
            if name.metric == "2d" and not name.loose
        }

    def warnings(self) -> list[str]:
        """One sentence for every class and difficulty with so few objects that KITTI's measures mislead."""
        found = []
        for (class_name, difficulty), count in self.counts().items():
            objects = "1 object" if count == 1 else f"{count} objects"
            if count < CAPPED_BELOW:
                most = 100 * max(count - 1, 0) / (_STEPS - 1)
                found.append(
                    f"{class_name}, {difficulty}: {objects}; R40 cannot exceed {most:.1f} with so few, so look "
                    "at the all-point average precision"
                )
            elif count < UNSTEADY_BELOW:
                found.append(f"{class_name}, {difficulty}: {objects}; figures are unsteady, so look at intervals")
        return found


def kitti_scores(frames: Sequence[Labeled], class_names: Sequence[str], *, loose: bool = True) -> KittiScores:
    """Score detections by all metrics and difficulties.

    Args:
        class_names: in lower case.
        loose: also with `LOOSE_MIN_OVERLAPS`, in `bev` and `3d`.

    Raises:
        ValueError: there is no frame.
    """
    if not frames:
        raise ValueError("there is no frame to score; expected at least one")
    overlaps = [frame_overlaps(*frame) for frame in frames]
    cells: dict[CellName, Cell] = {}
    for name in _cell_names(class_names, loose):
        difficulty = next(each for each in DIFFICULTIES if each.name == name.difficulty)
        least = (LOOSE_MIN_OVERLAPS if name.loose else MIN_OVERLAPS).get(name.class_name, 0.5)
        outcomes = [
            frame_outcome(
                *frame,
                found,
                class_name=name.class_name,
                difficulty=difficulty,
                metric=name.metric,
                min_overlap=least,
            )
            for frame, found in zip(frames, overlaps, strict=True)
        ]
        cells[name] = Cell.of(outcomes, oriented=name.metric == "2d")
    return KittiScores(num_frames=len(frames), cells=cells)


def thresholds(scores: NDArray[np.float64], num_objects: int) -> NDArray[np.float64]:
    """Of the scores at which objects are found, those nearest to recalls that are 1/40 apart, at most 41."""
    ordered = np.sort(scores)[::-1]
    chosen: list[float] = []
    recall = 0.0
    for index, score in enumerate(ordered.tolist()):
        here, is_last = (index + 1) / num_objects, index == len(ordered) - 1
        following = here if is_last else (index + 2) / num_objects
        if not is_last and following - recall < recall - here:
            continue
        chosen.append(score)
        recall += 1 / (_STEPS - 1)
    return np.array(chosen[:_STEPS], np.float64)


def _cell_names(class_names: Sequence[str], loose: bool) -> list[CellName]:
    return [
        CellName(class_name, difficulty.name, metric, is_loose)
        for is_loose in ((False, True) if loose else (False,))
        for class_name in class_names
        for difficulty in DIFFICULTIES
        for metric in METRICS
        if not (is_loose and metric == "2d")
    ]


def _repeated(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), counts)
