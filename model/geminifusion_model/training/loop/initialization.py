"""The weights a run starts from: random ones, another checkpoint's, a SegFormer's, or an image classifier's."""

from __future__ import annotations

from pathlib import Path

from geminifusion_model.checkpoint import read_info
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.sample import Dataset
from geminifusion_model.network import GeminiFusion
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.starts import CHECKPOINT, check_start_paths, describe_start, is_checkpoint
from geminifusion_model.weights.artifact import is_artifact, network_of_artifact
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_model.weights.imagenet import load_imagenet
from geminifusion_model.weights.official import load_official
from geminifusion_model.weights.report import OfficialReport
from geminifusion_model.weights.segformer import start_from_segformer
from geminifusion_model.weights.sources import open_weights
from geminifusion_runtime.artifact import read_metadata, require_segmentation


def check_starts(config: TrainingConfig) -> None:
    """Check that the weights to start from are given and exist; cheap enough to run before data is read.

    Raises:
        ConfigError: see `check_start_paths`, or an artifact's BatchNorm is to be trained.
    """
    check_start_paths(
        config.start_from,
        config.imagenet,
        accepted=f"{CHECKPOINT}, an artifact, or a weight file of GeminiFusion's authors or of SegFormer",
        is_accepted=lambda path: path.is_file() or is_checkpoint(path) or is_artifact(path),
    )
    if config.start_from is not None and is_artifact(Path(config.start_from)) and not config.freeze_decoder_norm:
        raise ConfigError(
            f"start_from is {config.start_from}, an artifact, whose graph has no BatchNorm statistics to train on "
            "from; set freeze_decoder_norm to true, or give its checkpoint"
        )


def start_network(config: TrainingConfig, class_names: tuple[str, ...] | None = None) -> GeminiFusion:
    """The network to train, with the weights it starts from.

    A checkpoint, ours or the original authors', has to fit entirely, except its classifier if it has other classes:
    that keeps its random weights, as when the original continues from SUN RGB-D to NYUv2. The same classes in another
    order are put into this one. A SegFormer fills
    the encoder, all streams with the same values, and a decoder of its width, see `start_from_segformer`. A
    classifier's file fills the encoder, see `load_imagenet`.

    Args:
        class_names: of the data; None takes as many classes for the same classes.

    Raises:
        ConfigError: see `check_starts`, or the weights cannot be read or do not fit the network.
        CheckpointError: a checkpoint of ours cannot be read.
    """
    check_starts(config)
    net = GeminiFusion(config.network)
    if config.start_from is not None:
        _continue_from(net, config.start_from, class_names)
    if config.imagenet is not None:
        start_from_classifier(net, config.imagenet)
    return net


def describe_training(config: TrainingConfig, frames: int, data: str, further: Dataset | None = None) -> str:
    """One sentence on how the weights were trained, as checkpoint and artifact carry it.

    Args:
        frames: trained on, without the held-out ones.
        data: the data set's name.
        further: frames of another data set that take part.
    """
    height, width = config.augmentation.crop
    scale = "" if config.input_scale == 1.0 else f" of frames reduced to x{config.input_scale:g}"
    start = describe_start(config.start_from, config.imagenet)
    parts = [
        f"{config.network.encoder} with {config.network.fusion} fusion from {start}",
        f"{config.steps} steps of {config.batch_size} crops of {height}x{width}{scale}",
        f"{frames} training frames of {data}" + (f", {config.holdout} held out" if config.holdout else ""),
    ]
    if further is not None:
        parts.append(
            f"{config.further_per_batch} of the {config.batch_size} crops from {len(further)} frames of "
            f"{further.task.data} ({further.task.data_license})"
        )
    if isinstance(config.augmentation, Augmentation) and config.augmentation.noise is not None:
        parts.append("modality dropout and sensor noise")
    if config.ema_decay:
        parts.append("exponential average of the weights")
    return "; ".join(parts)


def _continue_from(net: GeminiFusion, path: str, class_names: tuple[str, ...] | None) -> None:
    known: tuple[str, ...] | None = None
    try:
        if is_artifact(Path(path)):
            start = network_of_artifact(Path(path))
            known = tuple(each.name for each in require_segmentation(read_metadata(Path(path))).classes)
        else:
            source = open_weights(Path(path))
            if source.kind == "segformer":
                start_from_segformer(net, source.tensors)
                return
            if source.kind == "official":
                start, _ = load_official(source.tensors)
            else:
                start = GeminiFusion.from_pretrained(Path(path))
                task = read_info(Path(path)).task
                known = None if task is None else task.class_names
    except OfficialWeightsError as error:
        raise ConfigError(f"start_from is {path}: {error}") from None
    weights, own = start.state_dict(), net.state_dict()
    classifier = [name for name in weights if name.startswith("decoder.classify.")]
    if known is not None and class_names is not None and set(known) == set(class_names):
        order = [known.index(name) for name in class_names]
        weights |= {name: weights[name][order] for name in classifier}
    elif start.config.num_classes != net.config.num_classes or (known and class_names and known != class_names):
        weights |= {name: own[name] for name in classifier}
    faults = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    faults += [name for name in weights if name not in own]
    if faults:
        raise ConfigError(
            f"start_from is {path}, which does not fit the network: {len(faults)} tensors are missing, left over "
            f"or of another shape, first {faults[0]}; set network as there, where the encoder is "
            f"{start.config.encoder}, the fusion {start.config.fusion} and the decoder {start.config.decoder_channels} "
            "channels wide"
        )
    net.load_state_dict(weights)


def start_from_classifier(net: GeminiFusion, path: str) -> None:
    """Fill the encoder of a network from an image classifier's file, or directory of transformers.

    Raises:
        ConfigError: the weights cannot be read, or are of another encoder.
    """
    try:
        source = Path(path)
        weights = open_weights(source).tensors if source.is_dir() else source
        report: OfficialReport = load_imagenet(net, weights, strict=False)
    except OfficialWeightsError as error:
        raise ConfigError(f"imagenet is {path}: {error}") from None
    if not report.complete:
        raise ConfigError(
            f"imagenet is {path}, which is no classifier with the encoder {net.config.encoder}: {len(report.used)} "
            f"tensors fit, {len(report.missing)} are missing, {len(report.mismatched)} have another shape, "
            f"{len(report.unexpected)} are left over; give the file of this encoder"
        )
