"""How far figures would move with other frames of the same kind: bootstrap over frames, paired for two detectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.detection.evaluation.kitti_ap import Cell, CellName, KittiScores
from geminifusion_model.evaluation.intervals import (
    Interval,
    PairedDifference,
    frame_draws,
    percentile_interval,
    two_sided_p_value,
)

MEASURES = ("r40", "r11", "all_point")
DRAWS = 1000


def drawn_values(cells: list[Cell], measure: str, *, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """A measure's mean over cells for `draws` draws of as many frames, with replacement.

    Args:
        cells: of one detector on the same frames, such as those of its seeds.
        measure: a field of `Figures`.
    """
    times = frame_draws(len(cells[0].num_objects), draws=draws, seed=seed)
    return np.array([np.mean([getattr(cell.figures(drawn), measure) for cell in cells]) for drawn in times])


def interval(
    scores: KittiScores, name: CellName, measure: str = "r40", *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Where 95 % of a figure lie."""
    return percentile_interval(drawn_values([scores.cells[name]], measure, draws=draws, seed=seed))


def paired_difference(
    first: list[Cell], second: list[Cell], measure: str = "r40", *, draws: int = DRAWS, seed: int = 0
) -> PairedDifference:
    """A figure of one detector less another's, on the same drawn frames.

    What another training seed would change is in it only as far as the cells are of several.

    Raises:
        ValueError: they were scored on different numbers of frames.
    """
    if len(first[0].num_objects) != len(second[0].num_objects):
        raise ValueError(
            f"detectors were scored on {len(first[0].num_objects)} and {len(second[0].num_objects)} frames; expected "
            "the same"
        )
    drawn = drawn_values(first, measure, draws=draws, seed=seed) - drawn_values(second, measure, draws=draws, seed=seed)
    values = [np.mean([getattr(cell.figures(), measure) for cell in cells]) for cells in (first, second)]
    return PairedDifference(
        value=float(values[0] - values[1]),
        interval=percentile_interval(drawn),
        p_value=two_sided_p_value(drawn),
        draws=draws,
    )
