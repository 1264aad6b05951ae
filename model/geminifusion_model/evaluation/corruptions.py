"""Corruptions of the robustness suite: missing, randomly missing and noisy modalities.

The scheme of Liao et al., arXiv:2503.18445. It corrupts encoded inputs, where 0 is the mean color and an unmeasured
depth.

EMM  entire-missing modality: in every combination that leaves at least one modality, the others are 0.
RMM  random-missing modality: in the same combinations, a ratio r of the others' values is 0.
NM   noisy modality: salt and pepper (a value becomes the largest or smallest of its modality in this frame), then
     Gaussian noise, in all modalities at once.

From the paper and its published tables: the three scenarios and r. From third-party descriptions of the authors'
scripts, which we could not see: values are hit one by one, event maps get no Gaussian noise, and the low noise level
is 5 % and 0.1. Ours: the middle and high level; one draw per measured value (a depth map repeated to three channels is
hit as the one channel it is); independent draws, so that shares hold on average, not exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geminifusion_model.evaluation.prediction import Corruption
from geminifusion_model.task import Task

MISSING_RATIOS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class NoiseLevel:
    """`density` is the share of values that become salt or pepper, `sigma` the Gaussian's, in normalized units."""

    name: str
    density: float
    sigma: float


NOISE_LEVELS = (NoiseLevel("low", 0.05, 0.1), NoiseLevel("mid", 0.1, 0.2), NoiseLevel("high", 0.2, 0.5))


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of the suite.

    Args:
        scenario: `clean`, `EMM`, `RMM` or `NM`.
        corrupted: names of the corrupted modalities.
        ratio: share of their values that is missing, for `RMM`.
        noise: what is added to them, for `NM`.
    """

    scenario: str
    corrupted: tuple[str, ...] = ()
    ratio: float = 0.0
    noise: NoiseLevel | None = None

    @property
    def name(self) -> str:
        """The condition in words, as tables and records name it."""
        if self.noise is not None:
            return f"NM {self.noise.name}: {100 * self.noise.density:g} % salt and pepper, sigma {self.noise.sigma:g}"
        if not self.corrupted:
            return "all modalities intact"
        what = " and ".join(self.corrupted)
        return f"EMM: {what} missing" if self.scenario == "EMM" else f"RMM: {100 * self.ratio:g} % of {what} missing"

    def corruption(self, task: Task, generator: torch.Generator) -> Corruption:
        """The corruption of one frame's inputs; it draws from `generator` when it is applied."""

        def apply(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(
                self._hit(values, how.name, len(how.mean), generator) if how.name in self.corrupted else values
                for values, how in zip(inputs, task.modalities, strict=True)
            )

        return apply

    def _hit(self, values: Tensor, name: str, channels: int, generator: torch.Generator) -> Tensor:
        if self.scenario == "EMM":
            return torch.zeros_like(values)
        shape = (values.shape[0], channels, *values.shape[2:])
        chance = torch.rand(shape, generator=generator)
        if self.noise is None:
            return values.masked_fill(chance < self.ratio, 0.0)
        half = self.noise.density / 2
        noisy = torch.where(chance < half, values.max(), values)
        noisy = torch.where(chance >= 1.0 - half, values.min(), noisy)
        if name == "event":
            return noisy
        return noisy + self.noise.sigma * torch.randn(shape, generator=generator)


def conditions(modalities: tuple[str, ...]) -> Iterator[Condition]:
    """Every condition of the suite for these modalities, the clean one first: 12 for two, 60 for four.

    A single modality can be noisy but not missing, which makes 4.
    """
    yield Condition(scenario="clean")
    parts = [c for count in range(1, len(modalities)) for c in itertools.combinations(modalities, count)]
    for corrupted in parts:
        yield Condition(scenario="EMM", corrupted=corrupted)
    for ratio in MISSING_RATIOS:
        for corrupted in parts:
            yield Condition(scenario="RMM", corrupted=corrupted, ratio=ratio)
    for noise in NOISE_LEVELS:
        yield Condition(scenario="NM", corrupted=modalities, noise=noise)
