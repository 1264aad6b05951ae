"""The same three training steps by one process, or by several that torchrun starts with this file."""

import os
import sys
from pathlib import Path

import torch

from geminifusion_model import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.loader import Batch, Share
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.loop.distributed import joined_processes
from geminifusion_model.training.loop.preparation import build_network, build_state
from geminifusion_model.training.loop.step import OptimizerStep

FRAMES = 8
SCENARIOS = {
    "frozen, accumulated": {"freeze_decoder_norm": True, "accumulate": 2},
    "synchronized": {},
    "synchronized, accumulated, weighted, recomputed": {
        "accumulate": 2,
        "class_balance": 1.0,
        "activation_checkpointing": True,
        "parameter_groups": "deliver",
    },
    "penalized, averaged, clipped": {"fusion": "token_exchange", "ema_decay": 0.9, "gradient_clip": 0.1},
}


def config(fusion="geminifusion", **changes):
    fields = {
        "network": GeminiFusionConfig(
            num_classes=5, decoder_channels=16, fusion=fusion, drop_path_rate=0.0, decoder_dropout=0.0
        ),
        "augmentation": Augmentation(crop=(32, 32)),
        "steps": 3,
        "batch_size": FRAMES,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "fusion_penalty": 0.5,
    }
    return TrainingConfig(**{**fields, **changes})


def batch(step):
    """Random frames, most of them hardly labeled: the mean of the parts' means would be far from that of all."""
    random = torch.Generator().manual_seed(step)
    rgb, depth = torch.randn(2, FRAMES, 3, 32, 32, generator=random)
    labels = torch.randint(0, 5, (FRAMES, 32, 32), generator=random)
    for frame in range(FRAMES):
        labels[frame, 2 + 4 * frame :] = 255
    labels[0] = 255
    return Batch((rgb, depth), labels)


def train(settings, processes):
    """The gradients of the first step, and losses and weights after the last."""
    chosen = config(**settings)
    net = build_network(chosen, processes)
    state = build_state(chosen, net, processes.device)
    for group in state.optimizer.param_groups:
        group["eps"] = 1e-2  # or Adam would make whole steps of rounding, as for a bias before BatchNorm
    weights = torch.linspace(0.5, 3.0, 5) if chosen.class_balance else None
    step = OptimizerStep(chosen, net, state, processes, ignore_index=255, class_weights=weights)
    share = Share(rank=processes.rank, processes=processes.count, parts=chosen.accumulate)
    mine = share.of(list(range(FRAMES)))
    gradients, losses = {}, []
    for number in range(3):
        whole = batch(number)
        report = step.take(Batch(tuple(values[mine] for values in whole.inputs), whole.labels[mine]))
        losses.append([*report.losses.values(), report.penalty, report.gradient_norm])
        if number == 0:
            gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
        state.step += 1
    return {"gradients": gradients, "losses": torch.tensor(losses), "weights": dict(state.averaged())}


if __name__ == "__main__":
    with joined_processes("cpu", os.environ) as processes:
        torch.set_num_threads(1)
        found = {name: train(settings, processes) for name, settings in SCENARIOS.items()}
        if processes.is_first:
            torch.save(found, Path(sys.argv[1]))
