"""The resumable state of a translator's training: two networks and two optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geminifusion_model.checkpoint import load_weights
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.loop.state import ExponentialAverage, RunState
from geminifusion_model.training.starts import check_start_paths
from geminifusion_model.translation.checkpoint import read_translator
from geminifusion_model.translation.discriminator import Discriminator
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.training_config import TranslationTrainingConfig


@dataclass
class Adversary:
    """The discriminator and its optimizer."""

    net: Discriminator
    optimizer: torch.optim.Optimizer


@dataclass
class TranslationState(RunState):
    """`net` is the generator.

    `error` is the mean absolute difference of the last evaluation, `least_error` the least of all.
    """

    adversary: Adversary | None = None
    error: float = float("inf")
    least_error: float = float("inf")

    def content(self) -> dict[str, Any]:
        """As in every run, the scores, and the discriminator if there is one."""
        found = {**super().content(), "error": self.error, "least_error": self.least_error}
        if self.adversary is not None:
            found["discriminator"] = self.adversary.net.state_dict()
            found["discriminator_optimizer"] = self.adversary.optimizer.state_dict()
        return found

    def load_content(self, content: Mapping[str, Any]) -> None:
        """Take over what `content` returned."""
        super().load_content(content)
        self.error, self.least_error = content["error"], content["least_error"]
        if self.adversary is not None:
            self.adversary.net.load_state_dict(content["discriminator"])
            self.adversary.optimizer.load_state_dict(content["discriminator_optimizer"])


def build_state(config: TranslationTrainingConfig, device: torch.device, *, resume: bool = False) -> TranslationState:
    """The state at step 0, on `device`. One to be resumed reads no start weights, which may be gone.

    Raises:
        ConfigError: the weights to start from are missing or do not fit.
        CheckpointError: they cannot be read.
    """
    if not resume:
        check_start_paths(config.start_from)
    torch.manual_seed(config.seed)
    generator = Generator(config.network)
    adversary = Discriminator(config.network) if config.adversarial_weight else None
    if config.start_from is not None and not resume:
        start_from(generator, Path(config.start_from))
    generator.to(device)
    return TranslationState(
        generator,
        _adam(generator, config),
        ExponentialAverage(generator, config.ema_decay),
        adversary=None if adversary is None else Adversary(adversary.to(device), _adam(adversary, config)),
    )


def start_from(generator: Generator, directory: Path) -> None:
    """Fill a generator with the weights of a checkpoint.

    Raises:
        ConfigError: they are of another network.
        CheckpointError: they cannot be read.
    """
    found, own = read_translator(directory).network.to_dict(), generator.config.to_dict()
    deciding = ("size", "fusion", "where", "num_fusion_heads", "inputs")
    differing = [name for name in deciding if found[name] != own[name]]
    if differing:
        name = differing[0]
        raise ConfigError(
            f"start_from is {directory}, whose {name} is {found[name]} and not {own[name]}; set network.{name} as there"
        )
    load_weights(generator, directory)


def _adam(net: torch.nn.Module, config: TranslationTrainingConfig) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=config.betas)
