"""mIoU under every corruption of the robustness suite, and its means.

The means are those of Liao et al., arXiv:2503.18445, over the conditions of `corruptions`:

Avg   plain mean over all combinations of a scenario, including the clean one.
E(p)  mean weighted by probability when each modality fails independently with probability p, given that not all do.

Counting the clean combination and normalizing E(p) follow third-party descriptions of the authors' scripts, which we
could not see. One seed gives every network the same corruptions, frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from geminifusion_model.data.sample import Dataset
from geminifusion_model.evaluation.corruptions import MISSING_RATIOS, Condition, conditions
from geminifusion_model.evaluation.evaluate import Scores, evaluate
from geminifusion_model.evaluation.prediction import Corruption
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task

FAILURE_PROBABILITIES = (0.2, 0.1, 0.05)


@dataclass(frozen=True, kw_only=True)
class RobustnessTable:
    """The mIoU of every condition, in percent, and the paper's means over them."""

    protocol: str
    frames: int
    seed: int
    modalities: tuple[str, ...]
    miou: Mapping[Condition, float]

    @property
    def clean(self) -> float:
        """mIoU of the clean inputs."""
        return next(value for condition, value in self.miou.items() if condition.scenario == "clean")

    def kept(self, condition: Condition) -> float:
        """mIoU under a condition as a percentage of the clean one; NaN if that is 0."""
        return 100.0 * self.miou[condition] / self.clean if self.clean else float("nan")

    def average(self, scenario: str, ratio: float = 0.0) -> float:
        """`Avg` of a scenario, for one ratio."""
        values = [value for _, value in self._combinations(scenario, ratio)]
        return sum(values) / len(values)

    def expected(self, scenario: str, probability: float, ratio: float = 0.0) -> float:
        """`E(p)` of a scenario, for one ratio."""
        total = weighted = 0.0
        for num_corrupted, value in self._combinations(scenario, ratio):
            weight = probability**num_corrupted * (1 - probability) ** (len(self.modalities) - num_corrupted)
            total += weight
            weighted += weight * value
        return weighted / total

    def summary(self) -> dict[str, dict[str, float]]:
        """The means by their printed names: `EMM` and `RMM r=…`, each with `Avg` and every `E(p=…)`.

        Empty for a single modality, which has to be there.
        """
        if len(self.modalities) == 1:
            return {}
        rows = {}
        for scenario, ratio in (("EMM", 0.0), *(("RMM", ratio) for ratio in MISSING_RATIOS)):
            means = {"Avg": self.average(scenario, ratio)}
            means |= {f"E(p={p:g})": self.expected(scenario, p, ratio) for p in FAILURE_PROBABILITIES}
            rows[scenario if scenario == "EMM" else f"RMM r={ratio:g}"] = means
        return rows

    def to_text(self) -> str:
        """One table for a terminal."""
        lines = [f"{'condition':<48}{'mIoU':>8}{'kept':>8}"]
        lines += [f"{c.name:<48}{value:8.2f}{self.kept(c):7.1f}%" for c, value in self.miou.items()]
        summary = self.summary()
        if summary:
            lines += ["", f"{'mean mIoU':<16}" + "".join(f"{name:>12}" for name in summary["EMM"])]
        lines += [f"{row:<16}" + "".join(f"{v:12.2f}" for v in means.values()) for row, means in summary.items()]
        lines.append(f"{self.frames} frames, protocol {self.protocol}, seed {self.seed} (scheme of arXiv:2503.18445)")
        return "\n".join(lines)

    def to_record(self) -> dict[str, Any]:
        """For the checkpoint's training record, under `robustness`; percent, rounded to 0.001."""
        return {
            "protocol": self.protocol,
            "frames": self.frames,
            "seed": self.seed,
            "miou": {condition.name: round(value, 3) for condition, value in self.miou.items()},
            "means": {
                row: {name: round(value, 3) for name, value in means.items()} for row, means in self.summary().items()
            },
        }

    def _combinations(self, scenario: str, ratio: float) -> Iterator[tuple[int, float]]:
        for condition, value in self.miou.items():
            if condition.scenario == "clean" or (condition.scenario == scenario and condition.ratio == ratio):
                yield len(condition.corrupted), value


def evaluate_robustness(
    net: GeminiFusion,
    dataset: Dataset,
    *,
    protocol: str = "native-labels",
    task: Task | None = None,
    seed: int = 0,
    clean: Scores | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> RobustnessTable:
    """Score a network under every condition; the same seed gives every network the same corruptions.

    Args:
        clean: the scores of the clean inputs under the same protocol, if they are known already.
        on_frame: called with the number of frames done, over all conditions.

    Raises:
        ValueError: as `evaluate`.
    """
    task = task or dataset.task
    names = tuple(modality.name for modality in task.modalities)
    miou: dict[Condition, float] = {}
    protocol_line = protocol
    done = 0

    def count(_: int) -> None:
        nonlocal done
        done += 1
        if on_frame is not None:
            on_frame(done)

    for number, condition in enumerate(conditions(names)):
        if condition.scenario == "clean" and clean is not None:
            scores = clean
        else:
            scores = evaluate(
                net,
                dataset,
                protocol=protocol,
                task=task,
                on_frame=count,
                corruption=_seeded(condition, task, seed, number),
            )
        miou[condition] = scores.miou
        protocol_line = scores.protocol
    return RobustnessTable(protocol=protocol_line, frames=len(dataset), seed=seed, modalities=names, miou=miou)


def _seeded(condition: Condition, task: Task, seed: int, number: int) -> Callable[[int], Corruption]:
    def for_frame(index: int) -> Corruption:
        generator = torch.Generator().manual_seed(_one_seed(seed, number, index))
        return condition.corruption(task, generator)

    return for_frame


def _one_seed(*numbers: int) -> int:
    """One 63-bit seed from several small numbers, the same on every machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1, "uint64")[0] >> 1)
