"""A training step of ours against the original's formulation, in paired steps on the same weights.

    python benchmarks/training_throughput.py [--encoder mit_b0 --height 480 --width 640 --batch 2 --threads 2 --steps 5]

One step is forward, the three losses, backward and AdamW. The first pair warms up and does not count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from machine import describe_machine
from original_formulation import OriginalFormulation
from torch import Tensor, nn

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.network import Prediction
from geminifusion_model.training.loss import segmentation_losses
from geminifusion_model.training.optimizer import build_optimizer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="mit_b0")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = GeminiFusionConfig(encoder=options.encoder, num_classes=40)
    shape = (options.batch, 3, options.height, options.width)
    images = [torch.randn(shape) for _ in range(2)]
    labels = torch.randint(0, 40, (options.batch, options.height, options.width))
    ours = GeminiFusion(config).train()
    theirs = OriginalFormulation(GeminiFusion(config)).train()

    def original_step() -> None:
        per_stream, ensemble = theirs(*images)
        step(theirs, theirs_optimizer, Prediction(tuple(per_stream), ensemble))

    def our_step(bfloat16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            prediction = ours(*images)
        step(ours, ours_optimizer, prediction)

    def step(net: nn.Module, optimizer: torch.optim.Optimizer, prediction: Prediction) -> None:
        losses: list[Tensor] = segmentation_losses(prediction, labels)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        optimizer.step()

    rates = {"learning_rate": 6e-5, "decoder_factor": 10.0, "weight_decay": 0.01}
    ours_optimizer = build_optimizer(ours, **rates)
    theirs_optimizer = torch.optim.AdamW(theirs.parameters(), lr=6e-5)
    contenders: dict[str, Callable[[], None]] = {
        "original formulation, float32": original_step,
        "ours, float32": lambda: our_step(False),
        "ours, bfloat16 autocast": lambda: our_step(True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(options.steps + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if index:
                seconds[name].append(time.perf_counter() - start)
    print(describe_machine("torch"))
    print(f"{options.encoder}, batch {options.batch}, {options.height}x{options.width}, {options.threads} threads")
    baseline = seconds["original formulation, float32"]
    for name, values in seconds.items():
        ratio = statistics.median(b / v for b, v in zip(baseline, values, strict=True))
        median = statistics.median(values)
        print(f"{name:<32} median {median:7.2f} s a step   {options.batch / median:6.2f} frames/s   {ratio:5.2f}x")


if __name__ == "__main__":
    main()
