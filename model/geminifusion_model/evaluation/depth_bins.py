"""mIoU by distance: does the network fail on what is far away, or where the sensor saw nothing?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_model.evaluation.prediction import ScoredFrame
from geminifusion_model.evaluation.protocols import AbsentClass


@dataclass(frozen=True)
class DepthBin:
    """One row of the table: `share` of all labeled pixels in percent, `miou` in percent (NaN if the bin is empty)."""

    name: str
    share: float
    miou: float


class DepthBins:
    """One confusion matrix per range of depth, and one for pixels without a measurement.

    Args:
        edges_m: rising, in metres; what lies beyond the last one is a bin of its own.
    """

    def __init__(
        self,
        num_classes: int,
        edges_m: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0),
        absent: AbsentClass = "skipped",
    ) -> None:
        if not edges_m or edges_m[0] <= 0 or any(low >= high for low, high in pairwise(edges_m)):
            raise ValueError(f"edges_m is {edges_m}; expected positive metres in rising order")
        self.edges_m = edges_m
        names = [f"below {edges_m[0]:g} m"]
        names += [f"{low:g} to {high:g} m" for low, high in pairwise(edges_m)]
        names += [f"{edges_m[-1]:g} m and beyond", "not measured"]
        self.matrices = {name: ConfusionMatrix(num_classes, absent) for name in names}

    def add(self, frame: ScoredFrame) -> None:
        """Take one frame into account; its depth is in metres.

        Raises:
            ValueError: the frame has no depth map.
        """
        depth = frame.measurement("depth")
        if depth is None or depth.shape != frame.truth.shape:
            raise ValueError(f"frame {frame.sample.name} has no depth in metres; leave the depth bins out")
        measured = (depth > 0) & (depth < np.inf)  # false for NaN too
        where = np.where(measured, np.digitize(np.where(measured, depth, 0.0), self.edges_m), len(self.edges_m) + 1)
        for index, matrix in enumerate(self.matrices.values()):
            inside = where == index
            matrix.add(frame.truth[inside], frame.labels[inside])

    def rows(self) -> tuple[DepthBin, ...]:
        """Nearest first, unmeasured last."""
        total = max(sum(int(matrix.counts.sum()) for matrix in self.matrices.values()), 1)
        return tuple(
            DepthBin(
                name,
                100.0 * float(matrix.counts.sum()) / total,
                matrix.miou() if matrix.counts.any() else float("nan"),
            )
            for name, matrix in self.matrices.items()
        )
