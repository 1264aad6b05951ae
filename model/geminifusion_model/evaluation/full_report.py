"""All measurements of one network on one data set, under one protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geminifusion_model.data.sample import Dataset
from geminifusion_model.evaluation.boundary import BoundaryScore
from geminifusion_model.evaluation.calibration import Reliability, Temperature, TemperatureFit
from geminifusion_model.evaluation.depth_bins import DepthBins
from geminifusion_model.evaluation.evaluate import Meter, Scores, evaluate
from geminifusion_model.evaluation.intervals import ScoreIntervals, bootstrap_intervals
from geminifusion_model.evaluation.predictor import Predictor
from geminifusion_model.evaluation.protocols import protocol_named
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task


@dataclass(frozen=True)
class FullReport:
    """All measurements of one network on one data set.

    `calibrated` is the reliability at `temperature`, None where none was fitted. `depth_bins` is None for data without
    depth in metres.
    """

    task: Task
    scores: Scores
    intervals: ScoreIntervals
    boundary: BoundaryScore
    depth_bins: DepthBins | None
    reliability: Reliability
    temperature: Temperature | None
    calibrated: Reliability | None

    def to_text(self) -> str:
        """The tables for a terminal."""
        scores, intervals, edges = self.scores, self.intervals, self.boundary.per_class()
        lines = [f"{'class':<20}{'IoU':>8}{'95 % interval':>18}{'accuracy':>10}{'boundary F':>12}"]
        for label, name in enumerate(self.task.class_names):
            lines.append(
                f"{name:<20}{scores.iou[label]:8.2f}{intervals.iou[label]!s:>18}"
                f"{scores.class_accuracy[label]:10.2f}{edges[label]:12.2f}"
            )
        if self.depth_bins is not None:
            lines += ["", f"{'depth':<20}{'mIoU':>8}{'share of pixels':>18}"]
            lines += [f"{row.name:<20}{row.miou:8.2f}{row.share:17.1f}%" for row in self.depth_bins.rows()]
        lines += [
            "",
            f"mIoU {scores.miou:.2f} ({intervals.miou}), pixel accuracy {scores.pixel_accuracy:.2f} "
            f"({intervals.pixel_accuracy}), mean accuracy {scores.mean_accuracy:.2f}, boundary F "
            f"{self.boundary.mean():.2f} (within {100 * self.boundary.tolerance:g} % of the diagonal)",
            f"intervals: 95 %, {intervals.draws} bootstrap draws of frames, seed {intervals.seed}",
            self.calibration_line(),
        ]
        return "\n".join(lines)

    def calibration_line(self) -> str:
        """The calibration error, and what the fitted temperature makes of it."""
        line = f"expected calibration error {self.reliability.expected_error():.2f} %"
        if self.temperature is None or self.calibrated is None:
            return f"{line}, no temperature fitted"
        return (
            f"{line}, {self.calibrated.expected_error():.2f} % at temperature {self.temperature.value:.3f} "
            f"(fitted on {self.temperature.data}, {self.temperature.frames} frames)"
        )


def evaluate_fully(
    net: GeminiFusion | Predictor,
    dataset: Dataset,
    *,
    protocol: str,
    task: Task | None = None,
    temperature: Temperature | None = None,
    seed: int = 0,
    on_frame: Callable[[int], None] | None = None,
) -> FullReport:
    """Measure everything in one pass over the frames.

    Args:
        temperature: of the checkpoint's record; confidence is judged without and with it.
        seed: of the bootstrap.

    Raises:
        ValueError: as `evaluate`.
    """
    task = (task or dataset.task) if isinstance(net, GeminiFusion) else net.task
    num_classes = len(task.class_names)
    absent = protocol_named(protocol).absent_class
    boundary, reliability = BoundaryScore(num_classes), Reliability()
    meters: list[Meter] = [boundary, reliability]
    bins = None
    if any(modality.name == "depth" and modality.unit == "metre" for modality in task.modalities):
        bins = DepthBins(num_classes, absent=absent)
        meters.append(bins)
    calibrated = None
    if temperature is not None:
        calibrated = Reliability(temperature=temperature.value)
        meters.append(calibrated)
    scores = evaluate(net, dataset, protocol=protocol, task=task, on_frame=on_frame, meters=meters)
    intervals = bootstrap_intervals(scores.matrices, absent=absent, seed=seed)
    return FullReport(task, scores, intervals, boundary, bins, reliability, temperature, calibrated)


def fit_temperature_on(
    net: GeminiFusion,
    dataset: Dataset,
    *,
    protocol: str,
    task: Task | None = None,
    data: str = "",
    seed: int = 0,
    on_frame: Callable[[int], None] | None = None,
) -> Temperature:
    """Fit a temperature on frames the network was neither trained nor is judged on.

    Args:
        data: which frames these are, for the record.

    Raises:
        ValueError: as `evaluate`, or no pixel is labeled.
    """
    fit = TemperatureFit(seed=seed)
    scores = evaluate(net, dataset, protocol=protocol, task=task, on_frame=on_frame, meters=[fit])
    return fit.fit(scores.protocol, data)


def frames_from_worst_to_best(scores: Scores, count: int) -> list[int]:
    """Indices of `count` frames at equal steps of the ranking by pixel accuracy, worst first.

    Frames without a labeled pixel are left out; fewer are returned if there are not so many.
    """
    labeled = scores.matrices.sum((1, 2))
    hits = np.trace(scores.matrices, axis1=1, axis2=2)
    known = np.flatnonzero(labeled)
    ranked = known[np.argsort(hits[known] / labeled[known], kind="stable")]
    places = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int))
    return [int(ranked[place]) for place in places]
