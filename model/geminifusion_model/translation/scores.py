"""Scores of translators over views: averages, intervals over views, and the paired comparison of two networks.

Axes: S seeds, V views.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.evaluation.intervals import (
    Interval,
    PairedDifference,
    frame_draws,
    percentile_interval,
    two_sided_p_value,
)
from geminifusion_model.translation.metrics import Measure

Values = NDArray[np.float64]

DRAWS = 2000


def score(values: Values, measure: Measure) -> float:
    """The mean over seeds of a measure over views.

    Args:
        values: `S V`, of each view; NaN where the measure is not defined.
    """
    return float(np.mean([measure.average(of_seed) for of_seed in values]))


def score_interval(values: Values, measure: Measure, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Where 95 % of `score` of as many views lie, drawn with replacement. `values` as there."""
    return percentile_interval(_drawn(values, measure, draws, seed))


def paired_difference(
    first: Values, second: Values, measure: Measure, *, draws: int = DRAWS, seed: int = 0
) -> PairedDifference:
    """`score` of the first network less that of the second, on the same drawn views.

    What another training seed would change is not in it.

    Args:
        first, second: as `score` takes them, of the same views in the same order; seeds may differ in number.

    Raises:
        ValueError: they have different numbers of views.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"networks were scored on {first.shape[1]} and {second.shape[1]} views; expected the same")
    drawn = _drawn(first, measure, draws, seed) - _drawn(second, measure, draws, seed)
    return PairedDifference(
        value=score(first, measure) - score(second, measure),
        interval=percentile_interval(drawn),
        p_value=two_sided_p_value(drawn),
        draws=draws,
    )


def _drawn(values: Values, measure: Measure, draws: int, seed: int) -> Values:
    times_drawn = frame_draws(values.shape[1], draws=draws, seed=seed).astype(np.float64)
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # of views for which a measure is never defined
        averages = (times_drawn @ np.where(known, values, 0).T) / (times_drawn @ known.T)
    found: Values = (np.sqrt(averages) if measure.root else averages).mean(axis=1)
    return found
