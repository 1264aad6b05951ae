"""Where a run's first weights come from: nowhere, another checkpoint, or an image classifier's file.

A recipe that makes no sense from random weights holds `required(...)` in the place of the path. It can be printed,
stored and overridden like any configuration, but not trained.
"""

from __future__ import annotations

import pickle
from pathlib import Path

from safetensors import SafetensorError

from geminifusion_model.data.augment import Augmentation
from geminifusion_model.network import GeminiFusion
from geminifusion_model.training.config import ConfigError, TrainingConfig
from geminifusion_model.weights.checkpoint import CONFIG_NAME, load_network
from geminifusion_model.weights.encoder_file import describe_encoder_file
from geminifusion_model.weights.imagenet import load_imagenet
from geminifusion_model.weights.report import OfficialReport

_REQUIRED = "REQUIRED: "


def required(what: str) -> str:
    """The value of `start_from` or `imagenet` in a recipe that cannot do without; `what` says which file is meant."""
    return _REQUIRED + what


def check_starts(config: TrainingConfig) -> None:
    """See that the weights to start from are named and there; cheap, so that it can be done before data is touched.

    Raises:
        ConfigError: a required path was not given, both are given, or one leads nowhere.
    """
    for name in ("start_from", "imagenet"):
        value = getattr(config, name)
        if value is not None and value.startswith(_REQUIRED):
            raise ConfigError(
                f"{name} is not given; this recipe needs {value.removeprefix(_REQUIRED)}: pass --set {name}=PATH, "
                f"or --set {name}=null to do without"
            )
    if config.start_from is not None and config.imagenet is not None:
        raise ConfigError(
            f"start_from is {config.start_from} and imagenet {config.imagenet}, but a network starts from one of them: "
            "set the other to null"
        )
    if config.start_from is not None and not (Path(config.start_from) / CONFIG_NAME).is_file():
        raise ConfigError(
            f"start_from is {config.start_from}, where there is no {CONFIG_NAME}; give a checkpoint directory, such as "
            "RUN/final"
        )
    if config.imagenet is not None and not Path(config.imagenet).is_file():
        raise ConfigError(f"imagenet is {config.imagenet}, and there is no such file; give a classifier's weight file")


def start_network(config: TrainingConfig) -> GeminiFusion:
    """The network to train, with the weights it starts from.

    A checkpoint has to fit entirely, but for its classifier if it knows another number of classes: that keeps its
    random weights, as when the original goes on from SUN RGB-D to NYUv2. A classifier's file fills the encoder, see
    `load_imagenet`.

    Raises:
        ConfigError: see `check_starts`, or the weights do not fit the network.
        CheckpointError: `start_from` cannot be read.
    """
    check_starts(config)
    net = GeminiFusion(config.network)
    if config.start_from is not None:
        _continue_from(net, config.start_from)
    if config.imagenet is not None:
        _start_from_classifier(net, config.imagenet)
    return net


def describe_start(config: TrainingConfig) -> str:
    """What a checkpoint's record says its training began with."""
    if config.start_from is not None:
        return config.start_from
    if config.imagenet is not None:
        file = Path(config.imagenet)
        return describe_encoder_file(file) or f"ImageNet classifier {file.name}"
    return "random weights, no ImageNet"


def describe_training(config: TrainingConfig, frames: int, data: str) -> str:
    """One sentence on how weights came to be, as checkpoint and artifact carry it.

    Args:
        frames: trained on, without the held-out ones.
        data: the data set's name.
    """
    height, width = config.augmentation.crop
    scale = "" if config.input_scale == 1.0 else f" of frames reduced to x{config.input_scale:g}"
    parts = [
        f"{config.network.encoder} with {config.network.fusion} fusion from {describe_start(config)}",
        f"{config.steps} steps of {config.batch_size} crops of {height}x{width}{scale}",
        f"{frames} training frames of {data}" + (f", {config.holdout} held out" if config.holdout else ""),
    ]
    if isinstance(config.augmentation, Augmentation) and config.augmentation.noise is not None:
        parts.append("modality dropout and sensor noise")
    if config.ema_decay:
        parts.append("exponential average of the weights")
    return "; ".join(parts)


def _continue_from(net: GeminiFusion, directory: str) -> None:
    start = load_network(Path(directory))
    weights, own = start.state_dict(), net.state_dict()
    if start.config.num_classes != net.config.num_classes:
        weights |= {name: own[name] for name in weights if name.startswith("decoder.classify.")}
    faults = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    faults += [name for name in weights if name not in own]
    if faults:
        raise ConfigError(
            f"start_from is {directory}, which does not fit the network: {len(faults)} tensors are missing, left over "
            f"or of another shape, first {faults[0]}; set network as in its {CONFIG_NAME}, where the encoder is "
            f"{start.config.encoder} and the fusion {start.config.fusion}"
        )
    net.load_state_dict(weights)


def _start_from_classifier(net: GeminiFusion, file: str) -> None:
    try:
        report: OfficialReport = load_imagenet(net, file, strict=False)
    except (RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"imagenet is {file}, which cannot be read as a weight file: {reason}") from None
    if not report.complete:
        raise ConfigError(
            f"imagenet is {file}, which is no classifier with the encoder {net.config.encoder}: {len(report.used)} "
            f"tensors fit, {len(report.missing)} are missing, {len(report.mismatched)} have another shape, "
            f"{len(report.unexpected)} are left over; give the file of this encoder"
        )
