"""The network that learns: an encoder of one stream, and what compares it with its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from geminifusion_model.checkpoint import CONFIG_NAME
from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.distillation.config import DistillationConfig
from geminifusion_model.distillation.teacher import TeacherInfo
from geminifusion_model.encoding import encode
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import IMAGENET_RGB
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.weights.artifact import is_artifact, trained_network
from geminifusion_model.weights.files import OfficialWeightsError


class StudentOutput(NamedTuple):
    """What a student says of a batch.

    Args:
        features: for each matched stage the projected map `B C_teacher H_i W_i`.
        logits: `B K` of the teacher's classes.
        folder_logits: `B F` of the photographs' folders, if they are learned.
    """

    features: tuple[Tensor, ...]
    logits: Tensor
    folder_logits: Tensor | None


class ChannelNorm(nn.Module):
    """Brings each channel of a teacher's map to mean 0 and deviation 1, by statistics that are measured once."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W` to `B C H W`."""
        return (x - self.mean[:, None, None]) / self.std[:, None, None]


class Student(nn.Module):
    """An encoder with a 1x1 projector for each matched stage and a linear classifier on the mean of its last map.

    Args:
        folder_count: of the folders to learn the names of; 0 for none.
    """

    def __init__(self, config: DistillationConfig, teacher: TeacherInfo, folder_count: int = 0) -> None:
        super().__init__()
        network = GeminiFusionConfig(
            encoder=config.encoder, modalities=("rgb",), fusion="none", drop_path_rate=config.drop_path_rate
        )
        self.stages = config.stages
        self.encoder = GeminiFusion(network).encoder
        widths = self.encoder.channels
        self.projectors = nn.ModuleList(
            nn.Conv2d(widths[stage - 1], teacher.channels[stage - 1], 1) for stage in self.stages
        )
        self.norms = nn.ModuleList(ChannelNorm(teacher.channels[stage - 1]) for stage in self.stages)
        self.classify = nn.Linear(widths[-1], teacher.num_classes)
        self.classify_folder = nn.Linear(widths[-1], folder_count) if folder_count else None
        for layer in (self.classify, self.classify_folder):
            if layer is not None:
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, rgb: Tensor) -> StudentOutput:
        """Look at `B H W 3` uint8 RGB."""
        images = encode(rgb, IMAGENET_RGB).contiguous(memory_format=torch.channels_last)
        pyramid = self.encoder(images)
        features = tuple(
            project(pyramid[stage - 1]) for stage, project in zip(self.stages, self.projectors, strict=True)
        )
        pooled = pyramid[-1].mean((2, 3))
        folder_logits = None if self.classify_folder is None else self.classify_folder(pooled)
        return StudentOutput(features, self.classify(pooled), folder_logits)

    def targets(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What `features` are to equal: the teacher's maps of the matched stages, standardized."""
        return tuple(norm(found) for norm, found in zip(self.norms, maps, strict=True))

    @torch.no_grad()
    def set_statistics(self, means: list[Tensor], deviations: list[Tensor]) -> None:
        """Take over what was measured of the teacher's channels, for each matched stage one vector of its width."""
        for module, mean, deviation in zip(self.norms, means, deviations, strict=True):
            norm = cast(ChannelNorm, module)
            norm.mean.copy_(mean)
            norm.std.copy_(deviation)


def check_start(config: DistillationConfig) -> None:
    """Check that the weights to start from exist; cheap enough to run before photographs are read.

    Raises:
        ConfigError: otherwise.
    """
    if config.start_from is None:
        return
    directory = Path(config.start_from)
    if not (directory / CONFIG_NAME).is_file() and not is_artifact(directory):
        raise ConfigError(
            f"start_from is {directory}, where there is no {CONFIG_NAME}; give a checkpoint such as RUN/final, or an "
            "artifact"
        )


def start_from_trained(student: Student, config: DistillationConfig) -> None:
    """Give the student's encoder the weights of a trained network's RGB stream, if the configuration names one.

    Raises:
        ConfigError: see `check_start`, or the encoders differ, or an artifact cannot be read back.
        ArtifactError, CheckpointError: the files are damaged.
    """
    check_start(config)
    if config.start_from is None:
        return
    try:
        trained = trained_network(Path(config.start_from))
    except OfficialWeightsError as error:
        raise ConfigError(f"start_from is {config.start_from}: {error}") from None
    if trained.config.encoder != config.encoder:
        raise ConfigError(f"start_from is {config.start_from} with {trained.config.encoder}; set encoder to that")
    tensors = trained.encoder.state_dict()
    own = student.encoder.state_dict()  # without the fusions; RGB is the first of what is kept once per stream
    student.encoder.load_state_dict(
        {name: tensors[name][:1] if tensors[name].shape != own[name].shape else tensors[name] for name in own}
    )
