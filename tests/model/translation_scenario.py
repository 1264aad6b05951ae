"""A tiny translator and views for it, trained by one process, or by several that torchrun starts with this file."""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from geminifusion_model.encoder_sizes import GENERATOR_SIZES, MiTSize
from geminifusion_model.training.loop.distributed import joined_processes
from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.dataset import TranslationBatch, TranslationDataset
from geminifusion_model.translation.domains import FRAME_DOMAINS
from geminifusion_model.translation.state import build_state
from geminifusion_model.translation.step import TranslationStep
from geminifusion_model.translation.training_config import TranslationTrainingConfig
from geminifusion_model.translation.transforms import TranslationAugmentation
from geminifusion_model.translation.views import View

TINY = MiTSize(
    channels=(8, 8, 16, 16, 16),
    depths=(1, 2, 1, 1, 1),
    heads=(1, 1, 2, 2, 2),
    reductions=(4, 2, 1, 1, 1),
    mlp_ratio=2,
    first_patch=(3, 2),
)


class DrawnViews:
    """Views of a few colored rectangles at different depths, the upper left corner of which is not measured."""

    data, data_license, domains, counts_unmeasured = "drawn", "none", FRAME_DOMAINS, False

    def __init__(self, count=10):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, index, names):
        rng = np.random.default_rng(index)
        rgb, depth = np.full((40, 48, 3), -1.0, np.float32), np.full((40, 48), 1.0, np.float32)
        for _ in range(4):
            y, x = rng.integers(0, 30, 2)
            rgb[y : y + 12, x : x + 12] = rng.uniform(-1, 1, 3)
            depth[y : y + 12, x : x + 12] = rng.uniform(-1, 1)
        measured = np.ones((40, 48), bool)
        measured[:8, :8] = False
        depth[:8, :8] = 0
        images = {"rgb": rgb, "depth": depth, "edge_occlusion": np.abs(np.diff(depth, axis=1, append=0)) - 1}
        masks = {"depth": measured}
        return View(
            f"view {index}",
            {name: images[name] for name in names},
            {name: masks.get(name, np.ones_like(measured)) for name in names},
        )


def config(fusion="geminifusion", inputs=("rgb", "edge_occlusion"), where="encoder", **changes):
    fields = {
        "network": TranslatorConfig(inputs=inputs, fusion=fusion, where=where, num_fusion_heads=4),
        "size": (32, 32),
        "augmentation": TranslationAugmentation(enlarged=1.25),
        "steps": 6,
        "batch_size": 2,
        "holdout": 3,
        "evaluate_every": 4,
        "checkpoint_every": 2,
        "log_every": 1,
        "ema_decay": 0.9,
    }
    return TranslationTrainingConfig(**{**fields, **changes})


def dataset(chosen, count=10):
    network = chosen.network
    return TranslationDataset(
        DrawnViews(count),
        inputs=network.inputs,
        target=network.target,
        size=chosen.size,
        augmentation=chosen.augmentation,
    )


def steps(chosen, processes):
    """What two steps of four random views find: reports, and both networks' gradients in the first."""
    state = build_state(chosen, processes.device)
    for optimizer in (state.optimizer, state.adversary.optimizer):
        for group in optimizer.param_groups:
            group["eps"] = 1e-2  # or Adam would make whole steps of rounding
    step = TranslationStep(chosen, state, processes)
    mine = slice(processes.rank * 4 // processes.count, (processes.rank + 1) * 4 // processes.count)
    found = {"reports": [], "gradients": {}}
    for number in range(2):
        random = torch.Generator().manual_seed(number)
        rgb, edge, target = torch.rand(3, 4, 3, 32, 32, generator=random).mul(2).sub(1)
        counted = torch.rand(4, 32, 32, generator=random) > torch.tensor([0.9, 0.1, 0.5, 0.0])[:, None, None]
        batch = TranslationBatch((rgb[mine], edge[mine]), target[mine], counted[mine], counted[mine])
        report = step.take(batch)
        found["reports"].append(torch.tensor(list(report.scalars().values()), dtype=torch.float64))
        for name, net in (("g", state.net), ("d", state.adversary.net)):
            for parameter, values in net.named_parameters():
                found["gradients"][f"{number}.{name}.{parameter}"] = values.grad.clone()
        state.step += 1
    return found


SCENARIOS = {"gemini": {"fusion": "geminifusion"}, "token": {"fusion": "token_fusion", "gradient_clip": 1.0}}


def scenario(name):
    settings = dict(SCENARIOS[name])
    network = TranslatorConfig(fusion=settings.pop("fusion"), num_fusion_heads=4, drop_path_rate=0.0)
    return config(batch_size=4, **settings).model_copy(update={"network": network})


if __name__ == "__main__":
    GENERATOR_SIZES["gen_b0"] = TINY
    with joined_processes("cpu", os.environ) as processes:
        torch.set_num_threads(1)
        found = {name: steps(scenario(name), processes) for name in SCENARIOS}
        if processes.is_first:
            torch.save(found, Path(sys.argv[1]))
