"""Which detections of a frame find its objects, by the rules of KITTI's object devkit.

An object or detection counts, is ignored (may be matched, counts neither way), or is of another class. G objects,
D detections.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.detection.data.labels import DONT_CARE, KittiObjects
from geminifusion_runtime.detection.boxes import CameraBoxes
from geminifusion_runtime.detection.overlaps import footprint_intersections

Metric = Literal["2d", "bev", "3d"]
METRICS: tuple[Metric, ...] = ("2d", "bev", "3d")

_COUNTS, _IGNORED, _OTHER = 0, 1, -1
_NEIGHBORS = {"car": "van", "pedestrian": "person_sitting"}  # may be found, need not be


class Difficulty(NamedTuple):
    """Which objects count: those at least as high in the image, and at most as hidden and cut off."""

    name: str
    min_height: float
    max_occlusion: int
    max_truncation: float


DIFFICULTIES = (
    Difficulty("easy", 40.0, 0, 0.15),
    Difficulty("moderate", 25.0, 1, 0.30),
    Difficulty("hard", 25.0, 2, 0.50),
)


class FrameOverlaps(NamedTuple):
    """Overlaps `G D` of a frame by metric, and `D`: the greatest share of a detection in one DontCare area."""

    by_metric: dict[Metric, NDArray[np.float64]]
    dont_care: NDArray[np.float64]


class FrameOutcome(NamedTuple):
    """What a frame adds to the counts of one class, difficulty and metric.

    Attributes:
        num_objects: that count.
        first_scores: of the detections that find an object when all are looked at, the surest first for each object.
        scores: at which anything changes, descending, `k`.
        changes: `k 3`: what true positives, false positives and the true positives' orientation similarity gain when
            detections down to that score are looked at.
    """

    num_objects: int
    first_scores: NDArray[np.float64]
    scores: NDArray[np.float64]
    changes: NDArray[np.float64]


def frame_overlaps(objects: KittiObjects, found: KittiObjects) -> FrameOverlaps:
    """All overlaps of a frame's labels with its detections."""
    image = _rectangle_intersections(objects.rectangles, found.rectangles)
    area, found_area = _rectangle_areas(objects.rectangles), _rectangle_areas(found.rectangles)
    one, other = standing(objects.boxes), standing(found.boxes)
    ground = footprint_intersections(one, other)
    ground_area, found_ground_area = (np.abs(boxes[:, 3] * boxes[:, 4]) for boxes in (one, other))
    low = np.maximum(one[:, None, 2], other[None, :, 2])
    high = np.minimum(one[:, None, 2] + one[:, None, 5], other[None, :, 2] + other[None, :, 5])
    volume = ground * (high - low).clip(min=0)
    by_metric: dict[Metric, NDArray[np.float64]] = {
        "2d": _ratio(image, area[:, None] + found_area - image),
        "bev": _ratio(ground, ground_area[:, None] + found_ground_area - ground),
        "3d": _ratio(volume, (ground_area * one[:, 5])[:, None] + found_ground_area * other[:, 5] - volume),
    }
    areas = [index for index, name in enumerate(objects.names) if name == DONT_CARE]
    shares = _ratio(image[areas], np.broadcast_to(found_area, (len(areas), len(found))))
    return FrameOverlaps(by_metric, shares.max(axis=0, initial=0.0))


def frame_outcome(
    objects: KittiObjects,
    found: KittiObjects,
    overlaps: FrameOverlaps,
    *,
    class_name: str,
    difficulty: Difficulty,
    metric: Metric,
    min_overlap: float,
) -> FrameOutcome:
    """Match the detections of one class, at every score that makes a difference.

    Args:
        class_name: in lower case, as the detector's classes are.
        min_overlap: that a match has to exceed.
    """
    states, found_states = _states(objects, class_name, difficulty), _found_states(found, class_name, difficulty)
    (rows,) = np.nonzero(states != _OTHER)
    (columns,) = np.nonzero(found_states != _OTHER)
    matching = _Matching(
        overlaps.by_metric[metric][np.ix_(rows, columns)].tolist(),
        states[rows].tolist(),
        found_states[columns].tolist(),
        found.scores[columns].tolist(),
        min_overlap,
    )
    absorbed = (overlaps.dont_care[columns] > min_overlap) & (metric == "2d")
    similarity = (1 + np.cos(objects.alphas[rows, None] - found.alphas[columns])) / 2
    scores = np.unique(found.scores[columns])[::-1]
    totals = np.zeros((len(scores) + 1, 3))
    for place, score in enumerate(scores.tolist(), 1):
        pairs, assigned = matching.by_overlap(score)
        false = (found_states[columns] == _COUNTS) & (found.scores[columns] >= score) & ~absorbed
        false[list(assigned)] = False
        totals[place] = len(pairs), false.sum(), math.fsum(similarity[pair] for pair in pairs)
    return FrameOutcome(
        num_objects=int((states == _COUNTS).sum()),
        first_scores=np.array(matching.scores_of_surest(), np.float64),
        scores=scores,
        changes=np.diff(totals, axis=0),
    )


class _Matching(NamedTuple):
    overlaps: list[list[float]]
    states: list[int]
    found_states: list[int]
    scores: list[float]
    min_overlap: float

    def scores_of_surest(self) -> list[float]:
        """Scores of the detections that find an object, if each object takes the surest one that overlaps it."""
        taken: set[int] = set()
        hits = []
        for state, row in zip(self.states, self.overlaps, strict=True):
            candidates = [j for j, overlap in enumerate(row) if overlap > self.min_overlap and j not in taken]
            if not candidates:
                continue
            best = max(candidates, key=self.scores.__getitem__)
            taken.add(best)
            if state == _COUNTS and self.found_states[best] == _COUNTS:
                hits.append(self.scores[best])
        return hits

    def by_overlap(self, least_score: float) -> tuple[list[tuple[int, int]], set[int]]:
        """Pairs of objects and detections that count, and all detections that are taken.

        Each object takes the detection that overlaps it most, and an ignored one only if there is no other.
        """
        taken: set[int] = set()
        pairs = []
        for i, (state, row) in enumerate(zip(self.states, self.overlaps, strict=True)):
            candidates = [
                j
                for j, overlap in enumerate(row)
                if overlap > self.min_overlap and j not in taken and self.scores[j] >= least_score
            ]
            counting = [j for j in candidates if self.found_states[j] == _COUNTS]
            if not candidates:
                continue
            best = max(counting, key=row.__getitem__) if counting else candidates[0]
            taken.add(best)
            if state == _COUNTS and counting:
                pairs.append((i, best))
        return pairs, taken


def standing(boxes: CameraBoxes) -> NDArray[np.float64]:
    """Boxes `n 7` in LiDAR axes of a LiDAR in the camera's place, which looks where it looks."""
    x, y, z = boxes.location.T
    height, width, length = boxes.dimensions.T
    return np.column_stack([z, -x, -y, length, width, height, -boxes.rotation_y - math.pi / 2])


def _states(objects: KittiObjects, class_name: str, difficulty: Difficulty) -> NDArray[np.int64]:
    names = np.array([name.lower() for name in objects.names], object)
    hard = (
        (objects.occluded > difficulty.max_occlusion)
        | (objects.truncated > difficulty.max_truncation)
        | (_heights(objects) < difficulty.min_height)
    )
    mine = names == class_name
    ignored = (mine & hard) | (names == _NEIGHBORS.get(class_name))
    return np.where(ignored, _IGNORED, np.where(mine, _COUNTS, _OTHER))


def _found_states(found: KittiObjects, class_name: str, difficulty: Difficulty) -> NDArray[np.int64]:
    """A detection that is too small is ignored, whatever its class: so the devkit does it."""
    mine = np.array([name.lower() == class_name for name in found.names], bool)
    small = _heights(found) < difficulty.min_height
    return np.where(small, _IGNORED, np.where(mine, _COUNTS, _OTHER))


def _heights(objects: KittiObjects) -> NDArray[np.float64]:
    return np.abs(objects.rectangles[:, 3] - objects.rectangles[:, 1])


def _rectangle_areas(rectangles: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (rectangles[:, 2] - rectangles[:, 0]) * (rectangles[:, 3] - rectangles[:, 1])
    return areas


def _rectangle_intersections(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.minimum(one[:, None, 2:], other[None, :, 2:]) - np.maximum(one[:, None, :2], other[None, :, :2])
    areas: NDArray[np.float64] = sides.clip(min=0).prod(axis=-1)
    return areas


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
