"""Resumable training state: everything a step reads besides the configuration and the data."""

from __future__ import annotations

import os
from dataclasses import dataclass
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
        """Move towards `net`; early steps move faster, so that the start values are soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor, 1.0 - decay)
            else:
                self.values[name].copy_(tensor)


@dataclass
class TrainingState:
    """The network with its optimiser and average, at the start of `step`."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    average: ExponentialAverage
    step: int = 0
    best_miou: float = -1.0

    def save(self, directory: Path) -> None:
        """Write to `directory`; the previous state stays intact until the new one is completely on disk."""
        content = {
            "step": self.step,
            "best_miou": self.best_miou,
            "net": self.net.state_dict(),
            "average": self.average.values,
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }
        partial = directory / f".{STATE_NAME}.partial"
        with partial.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(directory / STATE_NAME)

    def restore(self, directory: Path) -> None:
        """Continue exactly where `save` left off, random numbers included.

        Raises:
            FileNotFoundError: nothing was saved in `directory`.
        """
        content: dict[str, Any] = torch.load(directory / STATE_NAME, weights_only=True)
        self.net.load_state_dict(content["net"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.average.values = content["average"]
        self.step = content["step"]
        self.best_miou = content["best_miou"]
        torch.set_rng_state(content["rng"])

    def averaged(self) -> dict[str, Tensor]:
        """The weights to evaluate and keep: the average, or the raw ones without one."""
        return self.average.values if self.average.decay else self.net.state_dict()
