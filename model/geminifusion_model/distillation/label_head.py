"""A small segmentation head on a frozen teacher's maps, fitted to labeled frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.data.sample import Dataset
from geminifusion_model.distillation.crops import squeezed
from geminifusion_model.distillation.teacher import Teacher, TeacherInfo
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_model.training.loop.class_balance import class_weights
from geminifusion_model.training.loop.step_parts import autocast

STAGES = (2, 3, 4)  # of the teacher's maps: stage 1 hardly knows what things are, and is most of the memory
_WIDTH = 192
_BLOCKS = 2
_BATCH = 16
_RATE, _WEIGHT_DECAY, _WARMUP_SHARE = 2e-3, 0.05, 0.1
_LABEL_SMOOTHING = 0.05
_CLASS_BALANCE = 0.5  # as in the recipes of the bundled model
_TEACHER_BATCH = 8


class LabelHead(nn.Module):
    """Class logits at 1/8 from a teacher's maps of stages 2 to 4.

    Args:
        teacher: whose maps these are.
        num_classes: of the labels.
    """

    def __init__(self, teacher: TeacherInfo, num_classes: int) -> None:
        super().__init__()
        widths = [teacher.channels[stage - 1] for stage in STAGES]
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.inputs = nn.ModuleList(nn.Conv2d(width, _WIDTH, 1) for width in widths)
        self.scene = nn.Linear(widths[-1], _WIDTH)  # what kind of room it is
        self.dropout = nn.Dropout2d(0.15)
        self.blocks = nn.ModuleList(_block() for _ in range(_BLOCKS))
        self.classify = nn.Sequential(
            nn.BatchNorm2d(_WIDTH), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(_WIDTH, num_classes, 1)
        )

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Maps `B C_i H_i W_i` of stages 2 to 4 to logits `B K H_2 W_2`."""
        size = maps[0].shape[2:]
        normed = [
            norm(values.float().contiguous(memory_format=torch.channels_last))
            for values, norm in zip(maps, self.norms, strict=True)
        ]
        x = self.scene(normed[-1].mean((2, 3)))[..., None, None]
        for values, project in zip(normed, self.inputs, strict=True):
            x = x + F.interpolate(project(self.dropout(values)), size=size, mode="bilinear", align_corners=False)
        for block in self.blocks:
            x = x + block(x)
        return cast(Tensor, self.classify(x))

    @torch.no_grad()
    def probabilities(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Class probabilities `B K H_2 W_2`, the mean over the maps and their mirror image."""
        mirrored = tuple(values.flip(3) for values in maps)
        return cast(Tensor, (self(maps).softmax(1) + self(mirrored).flip(3).softmax(1)) / 2)


def _block() -> nn.Sequential:
    depthwise = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, groups=_WIDTH)
    expand, reduce = nn.Conv2d(_WIDTH, 2 * _WIDTH, 1), nn.Conv2d(2 * _WIDTH, _WIDTH, 1)
    return nn.Sequential(nn.BatchNorm2d(_WIDTH), depthwise, expand, nn.GELU(), reduce)


def teacher_maps_of(
    teacher: Teacher, frames: Dataset, side: int, on_frame: Callable[[], None]
) -> tuple[list[tuple[Tensor, ...]], NDArray[np.uint8]]:
    """A teacher's maps of labeled frames, seen whole as squares, and the frames' labels at a quarter of that.

    Args:
        side: of the squares in pixels.

    Returns:
        Per frame the maps of `STAGES`, `C H W` float16; labels `N side/4 side/4` uint8.
    """
    maps: list[tuple[Tensor, ...]] = []
    labels = np.empty((len(frames), side // 4, side // 4), np.uint8)
    for start in range(0, len(frames), _TEACHER_BATCH):
        samples = [frames[index] for index in range(start, min(start + _TEACHER_BATCH, len(frames)))]
        pyramid = teacher(torch.from_numpy(np.stack([squeezed(sample.rgb, side) for sample in samples]))).pyramid
        for number, sample in enumerate(samples):
            maps.append(tuple(pyramid[stage - 1][number].half() for stage in STAGES))
            labels[start + number] = cv2.resize(sample.labels, (side // 4, side // 4), interpolation=cv2.INTER_NEAREST)
            on_frame()
    return maps, labels


def fit_label_head(
    teacher: Teacher,
    frames: Dataset,
    *,
    side: int,
    epochs: int,
    seed: int,
    precision: str,
    on_frame: Callable[[], None],
    on_epoch: Callable[[], None],
) -> LabelHead:
    """Fit a head to labeled frames, each seen whole and mirrored at random; the teacher stays as it is.

    Args:
        side: of the squares as which the teacher sees frames, in pixels; a multiple of 32.
        precision: `float32`, or `bfloat16` under autocast.
        on_frame: called for every frame that the teacher has seen.
        on_epoch: called after every pass over all frames.
    """
    torch.manual_seed(seed)
    head = LabelHead(teacher.info, len(frames.task.class_names))
    maps, stored = teacher_maps_of(teacher, frames, side, on_frame)
    labels = torch.from_numpy(stored).long()
    weights = class_weights(frames, _CLASS_BALANCE)
    optimizer = torch.optim.AdamW(head.parameters(), _RATE, weight_decay=_WEIGHT_DECAY)
    batches = max(1, len(frames) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=epochs * batches, pct_start=_WARMUP_SHARE
    )
    for _ in range(epochs):
        order = torch.randperm(len(frames))
        for chosen in order[: batches * _BATCH].split(_BATCH):
            stages = tuple(torch.stack(values) for values in zip(*(maps[index] for index in chosen), strict=True))
            wanted = labels[chosen]
            if torch.rand(()) < 0.5:
                stages, wanted = tuple(values.flip(3) for values in stages), wanted.flip(2)
            with autocast(precision, torch.device("cpu")):
                coarse = head(stages)
            logits = F.interpolate(coarse.float(), size=wanted.shape[1:], mode="bilinear", align_corners=False)
            loss = F.cross_entropy(
                logits,
                wanted,
                weights,
                ignore_index=frames.task.ignore_index,
                label_smoothing=_LABEL_SMOOTHING,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        on_epoch()
    return head.eval()


def score_label_head(teacher: Teacher, head: LabelHead, frames: Dataset, side: int) -> float:
    """Mean IoU in percent on other labeled frames, at their own size.

    Args:
        side: see `fit_label_head`.
    """
    matrix = ConfusionMatrix(len(frames.task.class_names))
    for index in range(len(frames)):
        sample = frames[index]
        pyramid = teacher(torch.from_numpy(squeezed(sample.rgb, side)[None])).pyramid
        probabilities = head.probabilities(tuple(pyramid[stage - 1] for stage in STAGES))
        size = sample.labels.shape
        full = F.interpolate(probabilities, size=size, mode="bilinear", align_corners=False)
        matrix.add(sample.labels, full[0].argmax(0).numpy())
    return matrix.miou()
