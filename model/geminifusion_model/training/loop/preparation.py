"""Before the first step: check that configuration, data and directory fit, build network and state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from geminifusion_model.data.sample import Dataset, Joined
from geminifusion_model.network import GeminiFusion
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.loop.batch_norm import synchronize_batch_norm
from geminifusion_model.training.loop.compiled import compile_network
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.initialization import start_network
from geminifusion_model.training.loop.optimizer import build_optimizer
from geminifusion_model.training.loop.state import STATE_NAME, ExponentialAverage, TrainingState
from geminifusion_model.training.run_config import RunConfig


def check_fit(config: TrainingConfig, dataset: Dataset, processes: Processes, further: Dataset | None = None) -> None:
    """Check that batches divide among the processes and that the data, and any further data, is of the network's kind.

    Raises:
        TrainingError: otherwise.
        DatasetError: the further data has other classes or encodings.
    """
    check_shares(config.batch_size, processes, parts=config.accumulate)
    if len(dataset.task.class_names) != config.network.num_classes:
        raise TrainingError(
            f"the data has {len(dataset.task.class_names)} classes, the network {config.network.num_classes}; "
            "set network.num_classes"
        )
    if (further is not None) != (config.further_per_batch > 0):
        given = "--further-data is given" if further is not None else "no --further-data is given"
        raise TrainingError(
            f"{given}, and further_per_batch is {config.further_per_batch}; set how many frames of a batch come from "
            "there, or neither"
        )
    if further is not None:
        Joined(dataset, further)
    check_holdout(len(dataset), config.holdout, "frames")


def check_shares(batch_size: int, processes: Processes, *, parts: int = 1) -> None:
    """Check that batches divide among the processes, and among the accumulated parts of each.

    Raises:
        TrainingError: otherwise.
    """
    shares = parts * processes.count
    if batch_size % shares:
        accumulated = f" with {parts} accumulated parts each" if parts > 1 else ""
        raise TrainingError(
            f"batch_size is {batch_size}, which {processes.count} processes{accumulated} cannot share equally; make it "
            f"a multiple of {shares}"
        )


def check_holdout(given: int, holdout: int, what: str) -> None:
    """Check that something is left to train on.

    Args:
        given: number of samples, held-out ones included.
        what: they are called.

    Raises:
        TrainingError: otherwise.
    """
    if given <= holdout:
        raise TrainingError(f"the data has {given} {what}, {holdout} are to be held out; set holdout to fewer")


def check_directory(config: RunConfig, directory: Path, *, resume: bool) -> None:
    """Check that a new run would overwrite no other, and that a resumed one exists and has the same configuration.

    Raises:
        TrainingError: otherwise.
    """
    exists = (directory / STATE_NAME).is_file()
    if exists and not resume:
        raise TrainingError(f"{directory} already holds a run; resume it with --resume or choose another directory")
    if resume and not exists:
        raise TrainingError(f"{directory} holds no {STATE_NAME} to resume from")
    if resume:
        earlier = type(config).from_yaml(directory / "config.yaml")
        if earlier != config:
            raise TrainingError(
                f"the configuration differs from {directory / 'config.yaml'}: {_differences(earlier, config)}. Resume "
                "with the same one, or start a new run from these weights: --out OTHER --set "
                f"start_from={directory / 'final'}"
            )


def _differences(earlier: RunConfig, config: RunConfig) -> str:
    """The settings that differ, with both values."""

    def flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in values.items():
            found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        return found

    then, now = flat(earlier.model_dump(mode="json")), flat(config.model_dump(mode="json"))
    return ", ".join(
        f"{name} was {then.get(name)} and is {now.get(name)}"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    )


def build_network(
    config: TrainingConfig, processes: Processes, *, resume: bool = False, class_names: tuple[str, ...] | None = None
) -> GeminiFusion:
    """The network with its start weights, on the processes' device, prepared for training as configured.

    A resumed run reads no start weights: its state replaces them, and their files may be gone. Names and tensors in the
    state dict are those of a plain `GeminiFusion(config.network)`.

    Args:
        class_names: see `start_network`.

    Raises:
        ConfigError, CheckpointError: see `start_network`.
    """
    torch.manual_seed(config.seed)
    net = GeminiFusion(config.network) if resume else start_network(config, class_names)
    if config.sync_batch_norm and not config.freeze_decoder_norm and processes.count > 1:
        synchronize_batch_norm(net, processes.device)
    if config.activation_checkpointing:
        checkpoint_activations(net)
    if config.compile:
        compile_network(net)
    return net.to(processes.device)


def build_state(config: TrainingConfig, net: GeminiFusion, device: torch.device) -> TrainingState:
    """The state at step 0. Parameters of `net` that are not in the optimizer are set to need no gradient."""
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
    # float16 loses small gradients unless the loss is scaled; for the others the scaler passes everything through
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
    return TrainingState(net, optimizer, ExponentialAverage(net, config.ema_decay), scaler)


def checkpoint_activations(net: GeminiFusion) -> None:
    """Keep only each encoder block's input, and compute the block again in the backward pass (arXiv:1604.06174).

    Outputs and gradients are the same to the bit, for the second computation draws the same random numbers. Passes
    without gradients and the names of parameters do not change.
    """
    for stage in net.encoder.stages:
        for block in stage.get_submodule("blocks").children():
            block.forward = _recomputed(block.forward)


def _recomputed(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*arguments: object) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*arguments)
        result: Tensor = checkpoint(forward, *arguments, use_reentrant=False)
        return result

    return run
