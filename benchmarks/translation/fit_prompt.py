"""Fit one map of depth that stands for missing depth, for every frame the same, with the network frozen.

    python benchmarks/translation/fit_prompt.py NYUV2 PROMPT.npy

The simplest form of a learned geometry prompt: GeomPrompt (arXiv:2604.11585) predicts one for each frame. The map has
few knots and is bilinear between them, so that 755 frames can fit it. It starts at the mean of the encoding, which is
what the network sees of missing depth, and is fitted on the training frames but the last 40, which choose the best.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.data.nyuv2 import NYUv2
from geminifusion_model.encoding import network_inputs
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task
from geminifusion_model.weights.artifact import network_of_artifact
from geminifusion_runtime.artifact import read_metadata, require_segmentation
from geminifusion_runtime.bundled import artifact_path

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine

_HOLDOUT = 40
_KNOTS = (24, 32)  # rows, columns
_SIZE = (480, 640)
_IGNORE = 255
_EVALUATE_EVERY = 20


class Prompt(torch.nn.Module):
    """Knots of depth in metres, and the frozen network that is to make the best of them."""

    def __init__(self, net: GeminiFusion, task: Task) -> None:
        super().__init__()
        self._net, self._task = net.requires_grad_(False).eval(), task
        _, depth = task.modalities
        self.knots = torch.nn.Parameter(torch.full((1, 1, *_KNOTS), depth.mean[0]))

    def metres(self) -> Tensor:
        """The map, `H W`."""
        near, far = 0.3, 10.0  # 0 would be no measurement
        return F.interpolate(self.knots.clamp(near, far), _SIZE, mode="bilinear")[0, 0]

    def logits(self, rgb: Tensor) -> Tensor:
        """Of `B H W 3` uint8 frames, at their own size."""
        depth = self.metres().expand(len(rgb), -1, -1)
        prediction = self._net(*network_inputs((rgb, depth), self._task))
        weights = self._net.ensemble_logits.softmax(0)
        # the network's own ensemble lets no gradient through
        both = sum(weight * stream for weight, stream in zip(weights, prediction.per_stream, strict=True))
        assert isinstance(both, Tensor)
        return F.interpolate(both, rgb.shape[1:3], mode="bilinear", align_corners=False)


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--artifact", type=Path, help="the segmentation model; the bundled one by default")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.05, help="metres a step")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    artifact = options.artifact or artifact_path()
    metadata = require_segmentation(read_metadata(artifact))
    frames = NYUv2(options.data, "train", len(metadata.classes))
    task = dataclasses.replace(frames.task, input_scale=metadata.input_scale)
    prompt = Prompt(network_of_artifact(artifact), task)
    optimizer = torch.optim.Adam([prompt.knots], options.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    rng = np.random.default_rng(0)
    trained, held_out = range(len(frames) - _HOLDOUT), range(len(frames) - _HOLDOUT, len(frames))
    print(describe_machine("torch"))
    best, started = -1.0, time.perf_counter()
    for step in range(options.steps + 1):
        if step % _EVALUATE_EVERY == 0 or step == options.steps:
            miou = held_out_miou(prompt, frames, held_out)
            print(f"step {step}: held-out mIoU {miou:.2f}, {time.perf_counter() - started:.0f} s", flush=True)
            if miou > best:
                best = miou
                np.save(options.out, prompt.metres().detach().numpy())
        if step == options.steps:
            break
        samples = [frames[int(index)] for index in rng.choice(trained, options.batch_size, replace=False)]
        rgb = torch.from_numpy(np.stack([sample.rgb for sample in samples]))
        labels = torch.from_numpy(np.stack([sample.labels for sample in samples]).astype(np.int64))
        loss = F.cross_entropy(prompt.logits(rgb), labels, ignore_index=_IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def held_out_miou(prompt: Prompt, frames: NYUv2, indices: range) -> float:
    """Of the frames of these indices, in percent."""
    matrix = ConfusionMatrix(len(frames.task.class_names))
    for index in indices:
        sample = frames[index]
        found = prompt.logits(torch.from_numpy(sample.rgb)[None]).argmax(1)[0]
        matrix.add(sample.labels, found.numpy().astype(np.uint8))
    return matrix.miou()


if __name__ == "__main__":
    main()
