"""What the benchmarks of the service print around their figures, and how they take medians and ratios."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

# The machine's description and the paired ratio are those of the other benchmarks, which are run as scripts too.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from machine import describe_machine

from geminifusion_export.benchmarking.paired import middle_and_quartiles, paired_ratio


def describe_run(*facts: object) -> str:
    """The head of a benchmark's output: machine, commit, versions, and what was asked for."""
    machine = describe_machine("uvicorn", "grpcio", "opencv-python-headless", "numpy", "onnxruntime")
    return f"{machine}\n{', '.join(map(str, facts))}\n"


def median(values: Sequence[float]) -> float:
    """The middle of the rounds."""
    return statistics.median(values)


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, float, float]:
    """Median and quartiles of the ratio taken round by round."""
    return paired_ratio(list(numerator), list(denominator))


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median and quartiles of what was found round by round."""
    return middle_and_quartiles(list(values))
