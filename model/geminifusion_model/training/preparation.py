"""What a run needs before its first step, and whether it fits together."""

from __future__ import annotations

from pathlib import Path

import torch

from geminifusion_model.data.sample import Dataset
from geminifusion_model.network import GeminiFusion
from geminifusion_model.training.batch_norm import synchronise_batch_norm
from geminifusion_model.training.compiled import compile_network
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.distributed import Processes
from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.memory import checkpoint_activations
from geminifusion_model.training.optimizer import build_optimizer
from geminifusion_model.training.precision import build_scaler
from geminifusion_model.training.settings import Settings
from geminifusion_model.training.starts import start_network
from geminifusion_model.training.state import STATE_NAME, ExponentialAverage, TrainingState


def check_fit(config: TrainingConfig, dataset: Dataset, processes: Processes) -> None:
    """See that batches can be shared and that the data is of the network's kind.

    Raises:
        TrainingError: they cannot, or it is not.
    """
    shares = config.accumulate * processes.count
    if config.batch_size % shares:
        raise TrainingError(
            f"batch_size is {config.batch_size}, which {processes.count} processes with {config.accumulate} "
            f"accumulated parts each cannot share equally; make it a multiple of {shares}"
        )
    if len(dataset.task.class_names) != config.network.num_classes:
        raise TrainingError(
            f"the data has {len(dataset.task.class_names)} classes, the network {config.network.num_classes}; "
            "set network.num_classes"
        )
    if len(dataset) <= config.holdout:
        raise TrainingError(f"the data has {len(dataset)} frames, {config.holdout} are to be held out; use fewer")


def check_directory(config: Settings, directory: Path, *, resume: bool) -> None:
    """See that a new run would overwrite none, and that a resumed one is there and is the same.

    Raises:
        TrainingError: otherwise.
    """
    exists = (directory / STATE_NAME).is_file()
    if exists and not resume:
        raise TrainingError(f"{directory} already holds a run; resume it with --resume or choose another directory")
    if resume and not exists:
        raise TrainingError(f"{directory} holds no {STATE_NAME} to resume from")
    if resume and type(config).from_yaml(directory / "config.yaml") != config:
        raise TrainingError(f"the configuration differs from {directory / 'config.yaml'}; resume needs the same one")


def build_network(config: TrainingConfig, processes: Processes, *, resume: bool = False) -> GeminiFusion:
    """The network with its start weights on the processes' device, made ready to be trained as configured.

    A resumed run reads no start weights, for it has its own: the files may be gone. Names and tensors in the state dict
    are those of a plain `GeminiFusion(config.network)`.

    Raises:
        ConfigError, CheckpointError: see `start_network`.
    """
    torch.manual_seed(config.seed)
    net = GeminiFusion(config.network) if resume else start_network(config)
    if config.sync_batch_norm and not config.freeze_decoder_norm and processes.count > 1:
        synchronise_batch_norm(net, processes.device)
    if config.activation_checkpointing:
        checkpoint_activations(net)
    if config.compile:
        compile_network(net)
    return net.to(processes.device)


def build_state(config: TrainingConfig, net: GeminiFusion, device: torch.device) -> TrainingState:
    """The state at step 0. Parameters of `net` that its optimiser does not hold will need no gradient."""
    optimizer = build_optimizer(
        net,
        learning_rate=config.learning_rate,
        decoder_factor=config.decoder_factor,
        weight_decay=config.weight_decay,
        style=config.parameter_groups,
    )
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for parameter in net.parameters():
        parameter.requires_grad_(parameter in held)
    return TrainingState(
        net, optimizer, ExponentialAverage(net, config.ema_decay), build_scaler(config.precision, device)
    )
