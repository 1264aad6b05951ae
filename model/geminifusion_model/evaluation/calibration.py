"""Calibration: is a confidence of 80 % right 80 % of the time, and the temperature that makes it so.

Expected calibration error and temperature scaling as in Guo et al., arXiv:1706.04599: pixels are sorted into bins by
confidence; ECE is the mean gap between a bin's confidence and its accuracy, weighted by pixels. The temperature divides
logits before the softmax; it changes no label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.evaluation.prediction import ScoredFrame

# exp(±3): a network whose logits are 20 times too large or too small has other problems
_LOG_RANGE = (-3.0, 3.0)


class Reliability:
    """Accuracy against confidence in equal bins of 0…1.

    Args:
        temperature: divides the logits before confidence is taken.
    """

    def __init__(self, num_bins: int = 15, temperature: float = 1.0) -> None:
        if num_bins < 1 or temperature <= 0:
            raise ValueError(f"num_bins is {num_bins}, temperature {temperature}; expected at least 1, and positive")
        self.temperature = temperature
        self.pixels = np.zeros(num_bins, np.int64)
        self._confidence = np.zeros(num_bins)
        self._right = np.zeros(num_bins)

    def add(self, frame: ScoredFrame) -> None:
        """Take one frame into account."""
        valid = frame.labeled
        self.add_pixels(frame.confidence(self.temperature)[valid], (frame.labels == frame.truth)[valid])

    def add_pixels(self, confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> None:
        """Count pixels by their confidence 0…1 and whether their class was right, two arrays of one shape."""
        num_bins = len(self.pixels)
        place = np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)
        self.pixels += np.bincount(place, minlength=num_bins)
        self._confidence += np.bincount(place, weights=confidence, minlength=num_bins)
        self._right += np.bincount(place, weights=right, minlength=num_bins)

    def confidence(self) -> NDArray[np.float64]:
        """Mean confidence per bin, 0…1; NaN for an empty one."""
        with np.errstate(invalid="ignore"):
            return self._confidence / self.pixels

    def accuracy(self) -> NDArray[np.float64]:
        """Share of right pixels per bin, 0…1; NaN for an empty one."""
        with np.errstate(invalid="ignore"):
            return self._right / self.pixels

    def expected_error(self) -> float:
        """ECE in percent; NaN before any pixel."""
        total = int(self.pixels.sum())
        return 100.0 * float(np.abs(self._right - self._confidence).sum()) / total if total else math.nan


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """A fitted temperature and where it comes from; NLL is the mean negative log-likelihood per pixel in nats."""

    value: float
    frames: int
    pixels: int
    nll_before: float
    nll_after: float
    protocol: str
    data: str = ""

    def to_record(self) -> dict[str, Any]:
        """For the checkpoint's training record, under `calibration`."""
        return asdict(self)

    @classmethod
    def from_record(cls, training: Mapping[str, Any]) -> Temperature | None:
        """The temperature of a checkpoint's training record, if one was fitted."""
        record = training.get("calibration")
        return None if record is None else cls(**record)


class TemperatureFit:
    """Collects scores of labeled pixels, then finds the temperature that makes the truth most likely.

    Args:
        pixels_per_frame: drawn at random; neighboring pixels say nearly the same.
        seed: of the draw.
    """

    def __init__(self, pixels_per_frame: int = 4000, seed: int = 0) -> None:
        self.pixels_per_frame, self.seed = pixels_per_frame, seed
        self._scores: list[Tensor] = []
        self._truth: list[Tensor] = []

    def add(self, frame: ScoredFrame) -> None:
        """Take one frame into account."""
        assert frame.scores is not None, "a temperature is fitted on the logits of a network"
        places = np.flatnonzero(frame.labeled)
        if len(places) > self.pixels_per_frame:
            rng = np.random.default_rng((self.seed, frame.index))
            places = rng.choice(places, self.pixels_per_frame, replace=False)
        self._scores.append(frame.scores.flatten(1)[:, torch.from_numpy(places)].T.contiguous())
        self._truth.append(torch.from_numpy(frame.truth.reshape(-1)[places].astype(np.int64)))

    def fit(self, protocol: str, data: str = "") -> Temperature:
        """The temperature, between e⁻³ and e³.

        Raises:
            ValueError: no labeled pixel was collected.
        """
        if not sum(len(truth) for truth in self._truth):
            raise ValueError("no labeled pixel to fit a temperature on; give held-out frames with labels")
        scores, truth = torch.cat(self._scores).double(), torch.cat(self._truth)
        value = fit_temperature(scores, truth)
        return Temperature(
            value=value,
            frames=len(self._truth),
            pixels=len(truth),
            nll_before=_nll(scores, truth, 1.0),
            nll_after=_nll(scores, truth, value),
            protocol=protocol,
            data=data,
        )


def fit_temperature(scores: Tensor, truth: Tensor) -> float:
    """The temperature under which `truth` is most likely.

    With β = 1/T the mean NLL is convex and its slope is `E_p[score] - score of the truth`, so bisection finds the zero.

    Args:
        scores: `N K` float64 logits.
        truth: `N` int64 classes.
    """
    true_score = scores.gather(1, truth[:, None]).mean()

    def slope(log_temperature: float) -> float:
        expected = ((scores * math.exp(-log_temperature)).softmax(1) * scores).sum(1).mean()
        return float(expected - true_score)

    low, high = _LOG_RANGE
    for _ in range(40):
        middle = (low + high) / 2
        # a positive slope: a smaller β, that is a higher temperature, is likelier
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return math.exp((low + high) / 2)


def _nll(scores: Tensor, truth: Tensor, temperature: float) -> float:
    return float(torch.nn.functional.cross_entropy(scores / temperature, truth))
