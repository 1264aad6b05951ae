"""Paired timing: contenders take turns, so that a machine whose speed drifts slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def paired_seconds(
    contenders: Mapping[str, Callable[[], object]], *, runs: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Wall seconds of each contender in each of `runs` rounds, after `warm_up` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(warm_up + runs):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            if index >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def paired_ratio(numerator: list[float], denominator: list[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile of the ratio taken round by round; all three the same for a single round."""
    return middle_and_quartiles([n / d for n, d in zip(numerator, denominator, strict=True)])


def middle_and_quartiles(values: list[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile; all three the same for a single round."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high
