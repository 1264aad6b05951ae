"""Resumable training state: everything a step reads besides the configuration and the data.

Random generators are no part of it: each step seeds them from the seed, its own number and the process's rank.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

STATE_NAME = "state.pt"


class ExponentialAverage:
    """An exponential moving average of a network's floating-point state (weights and norm statistics)."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Move towards `net`; early steps move further, so that the start values soon fade."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor, 1.0 - decay)
            else:
                self.values[name].copy_(tensor)


def _no_scaler() -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=False)


@dataclass
class RunState:
    """A network with its optimizer, average and loss scaler, at the start of `step`.

    The last evaluation was after `evaluated_step` steps.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    average: ExponentialAverage
    scaler: torch.amp.GradScaler = field(default_factory=_no_scaler)
    step: int = 0
    evaluated_step: int = 0

    def content(self) -> dict[str, Any]:
        """The saved values by name: numbers, and tensors that torch loads without running code."""
        return {
            "step": self.step,
            "evaluated_step": self.evaluated_step,
            "net": self.net.state_dict(),
            "average": self.average.values,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_content(self, content: Mapping[str, Any]) -> None:
        """Take over what `content` returned.

        Raises:
            KeyError, RuntimeError, ValueError: it belongs to another kind of state or to another network.
        """
        self.net.load_state_dict(content["net"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        for name, values in content["average"].items():
            self.average.values[name].copy_(values)
        self.step = content["step"]
        self.evaluated_step = content["evaluated_step"]

    def save(self, directory: Path) -> None:
        """Write to `directory`; the previous state stays intact until the new one is completely on disk.

        Raises:
            OSError: it cannot be written; the previous state is intact.
        """
        partial = directory / f".{STATE_NAME}.partial"
        try:
            with partial.open("wb") as stream:
                torch.save(self.content(), stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(directory / STATE_NAME)
        except BaseException as error:
            partial.unlink(missing_ok=True)  # free its space on a full disk
            if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
                raise error.__context__ from None  # torch's own error does not say what is wrong with the disk
            raise

    def restore(self, directory: Path) -> None:
        """Load what `save` wrote, bit for bit.

        Raises:
            FileNotFoundError: nothing was saved in `directory`.
        """
        self.load_content(torch.load(directory / STATE_NAME, weights_only=True, map_location="cpu"))

    def averaged(self) -> dict[str, Tensor]:
        """The weights to evaluate and keep: the average, or the raw ones if there is none."""
        return self.average.values if self.average.decay else self.net.state_dict()


@dataclass
class TrainingState(RunState):
    """The state of a segmentation network's training.

    `miou` is the score of the last evaluation, `best_miou` the best of all.
    """

    miou: float = -1.0
    best_miou: float = -1.0

    def content(self) -> dict[str, Any]:
        """As in every run, and the scores."""
        return {**super().content(), "miou": self.miou, "best_miou": self.best_miou}

    def load_content(self, content: Mapping[str, Any]) -> None:
        """As in every run, and the scores."""
        super().load_content(content)
        self.miou = content["miou"]
        self.best_miou = content["best_miou"]
