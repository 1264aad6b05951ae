"""The start weights and the resumable state of a detector's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geminifusion_model.checkpoint import load_weights
from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.detection.checkpoint import read_detector
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.training_config import DetectionTrainingConfig
from geminifusion_model.network import GeminiFusion
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.loop.initialization import start_from_classifier
from geminifusion_model.training.loop.state import ExponentialAverage, RunState
from geminifusion_model.training.starts import check_start_paths


@dataclass
class DetectionState(RunState):
    """`precision` is the mean average precision of the last evaluation, `best_precision` the best of all."""

    precision: float = -1.0
    best_precision: float = -1.0

    def content(self) -> dict[str, Any]:
        """As in every run, and the scores."""
        return {**super().content(), "precision": self.precision, "best_precision": self.best_precision}

    def load_content(self, content: Mapping[str, Any]) -> None:
        """As in every run, and the scores."""
        super().load_content(content)
        self.precision, self.best_precision = content["precision"], content["best_precision"]


def build_state(config: DetectionTrainingConfig, device: torch.device, *, resume: bool = False) -> DetectionState:
    """The state at step 0, on `device`. One to be resumed reads no start weights, which may be gone.

    Raises:
        ConfigError: the weights to start from are missing or do not fit, or there are two of them.
        CheckpointError: they cannot be read.
    """
    if not resume:
        check_start_paths(config.start_from, config.imagenet)
    torch.manual_seed(config.seed)
    detector = Detector(config.network)
    if not resume:
        if config.imagenet is not None:
            _start_images_from(detector, config.imagenet)
        if config.start_from is not None:
            _start_from(detector, Path(config.start_from))
    detector.to(device)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in detector.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )
    return DetectionState(detector, optimizer, ExponentialAverage(detector, config.ema_decay))


def _start_from(detector: Detector, directory: Path) -> None:
    found, own = read_detector(directory).network.to_dict(), detector.config.to_dict()
    free = ("selection", "positive_ious", "negative_ious")  # of no weight's shape or meaning
    differing = [name for name in own if name not in free and found[name] != own[name]]
    if differing:
        name = differing[0]
        raise ConfigError(
            f"start_from is {directory}, whose {name} is {found[name]} and not {own[name]}; set network.{name} as there"
        )
    load_weights(detector, directory)


def _start_images_from(detector: Detector, path: str) -> None:
    assert detector.image is not None
    network = GeminiFusion(
        GeminiFusionConfig(encoder=detector.config.image_encoder, modalities=("rgb",), fusion="none", num_classes=2)
    )
    start_from_classifier(network, path)
    detector.image.backbone.load_state_dict(network.encoder.state_dict())
