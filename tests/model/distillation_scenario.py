"""A tiny teacher, photographs for it, and a distillation of both that can run in a process of its own."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from geminifusion_model.distillation.config import DistillationConfig
from geminifusion_model.distillation.images import Photographs
from geminifusion_model.distillation.run import DistillationRun
from geminifusion_model.distillation.teacher import TeacherInfo, TeacherOutput


class TinyTeacher:
    """Means of patches and random linear maps of them, the same ones in every process."""

    def __init__(self, name="tiny", channels=(4, 6, 8, 10), num_classes=5):
        self.info = TeacherInfo(
            name=name, origin="drawn by chance; CC0-1.0", channels=channels, num_classes=num_classes
        )
        random = torch.Generator().manual_seed(0)
        self._maps = [torch.randn(width, 3, generator=random) for width in (*channels, num_classes)]
        self.images = 0

    def to(self, device):
        return self

    @torch.no_grad()
    def __call__(self, rgb):
        self.images += len(rgb)
        x = rgb.permute(0, 3, 1, 2) / 127.5 - 1
        pooled = [nn.functional.avg_pool2d(x, stride, ceil_mode=True) for stride in (4, 8, 16, 32, 32)]
        *pyramid, class_map = (
            torch.einsum("oc,bchw->bohw", weight, mean) for weight, mean in zip(self._maps, pooled, strict=True)
        )
        return TeacherOutput(tuple(pyramid), 3 * class_map)


def write_photographs(folder, count=12):
    """Half of them bluish in `kitchen`, half reddish somewhere in `bedroom`."""
    for number in range(count):
        random = np.random.default_rng(number)
        ramp = np.linspace(0, 200, 64)[None, :] * random.uniform(0.2, 1.0, (48, 1))
        image = np.stack([np.roll(ramp, number * channel, axis=1) for channel in range(3)], axis=2)
        image[..., 0 if number % 2 else 2] += 55
        path = folder / ("kitchen" if number % 2 else "bedroom/old") / f"{number:02}{'.jpg' if number % 3 else '.PNG'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image.astype(np.uint8))
    return folder


def config(**changes):
    fields = {
        "teacher": "tiny",
        "teacher_side": 64,
        "statistics_images": 6,
        "steps": 8,
        "batch_size": 4,
        "crop": 32,
        "fine_crop": 64,
        "fine_steps": 2,
        "warmup_steps": 2,
        "drop_path_rate": 0.2,  # so that a step draws random numbers
        "ema_decay": 0.9,
        "folder_weight": 0.1,
        "holdout": 2,
        "evaluate_every": 3,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    return DistillationConfig(**{**fields, **changes})


def distillation(data, out, *, resume=False, teacher=None, maps=None, **changes):
    return DistillationRun(
        config(**changes), Photographs([data]), teacher or TinyTeacher(), out, resume=resume, maps_directory=maps
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = json.loads(sys.argv[3])
    distillation(Path(sys.argv[1]), Path(sys.argv[2]), **settings).train()
