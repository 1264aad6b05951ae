"""A training step of ours against the original's formulation, in paired steps on the same weights.

    python benchmarks/training_throughput.py [--encoders mit_b0 mit_b3 --height 480 --width 640 --batch 2 --threads 2]

One step is forward, the three losses, backward and AdamW. The first round warms up and does not count. Each encoder is
measured in a separate process that may use 80 % of the free memory; where a size does not fit, 3/4 and then 1/2 of it
is measured instead. `--return-memory` leaves the memory allocator as it is, where training tells it to keep what was
freed; what that brings is the difference of the two outputs, so run both on a quiet machine.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe_machine
from torch import Tensor

from geminifusion_export.benchmarking.original_formulation import OriginalFormulation
from geminifusion_export.benchmarking.paired import paired_ratio, paired_seconds
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.network import Prediction
from geminifusion_model.training.loop.loss import segmentation_losses
from geminifusion_model.training.loop.optimizer import build_optimizer
from geminifusion_runtime.allocator import keep_freed_memory

BASELINE = "original formulation, float32"
NUM_CLASSES = 40
SHARES = (1.0, 0.75, 0.5)  # of both sides
_DOES_NOT_FIT = 3  # exit code
_ABORTED = -6  # a library that does not turn a failed allocation into an exception
_FREE_SHARE = 0.8


def contenders(encoder: str, batch: int, height: int, width: int) -> dict[str, Callable[[], None]]:
    """One training step of each, by name."""
    torch.manual_seed(0)
    config = GeminiFusionConfig(encoder=encoder, num_classes=NUM_CLASSES)
    images = [torch.randn(batch, 3, height, width) for _ in range(2)]
    labels = torch.randint(0, NUM_CLASSES, (batch, height, width))
    ours = GeminiFusion(config).train()
    theirs = OriginalFormulation(GeminiFusion(config)).train()
    ours_optimizer = build_optimizer(ours, learning_rate=6e-5, decoder_factor=10.0, weight_decay=0.01)
    theirs_optimizer = torch.optim.AdamW(theirs.parameters(), lr=6e-5)

    def original_step() -> None:
        per_stream, ensemble = theirs(*images)
        step(theirs_optimizer, Prediction(tuple(per_stream), ensemble))

    def our_step(bfloat16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            prediction = ours(*images)
        step(ours_optimizer, prediction)

    def step(optimizer: torch.optim.Optimizer, prediction: Prediction) -> None:
        losses: list[Tensor] = segmentation_losses(prediction, labels)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        optimizer.step()

    return {
        BASELINE: original_step,
        "ours, float32": lambda: our_step(False),
        "ours, bfloat16 autocast": lambda: our_step(True),
    }


def measure(options: argparse.Namespace, encoder: str, height: int, width: int) -> None:
    """Measure one encoder at one size, and print; exits with `_DOES_NOT_FIT` where memory does not suffice."""
    # a failed allocation is an exception here; without the limit the system would end some process of its choice
    resource.setrlimit(resource.RLIMIT_DATA, (free_bytes(), resource.getrlimit(resource.RLIMIT_DATA)[1]))
    torch.set_num_threads(options.threads)
    if not options.return_memory:
        keep_freed_memory()
    try:
        seconds = paired_seconds(contenders(encoder, options.batch, height, width), runs=options.steps)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        sys.exit(_DOES_NOT_FIT)
    print(f"{encoder}, batch {options.batch}, {height}x{width}, {options.steps} paired steps")
    for name, values in seconds.items():
        ratio, low, high = paired_ratio(seconds[BASELINE], values)
        median = statistics.median(values)
        print(
            f"{name:<32} median {median:7.2f} s a step   {options.batch / median:6.2f} frames/s   "
            f"{ratio:5.2f}x ({low:.2f} … {high:.2f})"
        )
    print(f"{'peak memory of all three':<32} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.1f} GB")


def free_bytes() -> int:
    """The share of currently free memory that one process may use, bytes."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return int(_FREE_SHARE * 1024 * kilobytes)


def main() -> None:
    """Measure every encoder at the largest size that fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["mit_b0", "mit_b3"])
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--return-memory", action="store_true", help="do not tell the allocator to keep freed memory")
    parser.add_argument("--case", nargs=3, metavar=("ENCODER", "HEIGHT", "WIDTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure(options, options.case[0], int(options.case[1]), int(options.case[2]))
        return
    print(describe_machine("torch"))
    kept = "returned to the system" if options.return_memory else "kept"
    print(f"{options.threads} threads, freed memory {kept}", flush=True)
    for encoder in options.encoders:
        for share in SHARES:
            height, width = round(options.height * share), round(options.width * share)
            command = [sys.executable, __file__, *sys.argv[1:], "--case", encoder, str(height), str(width)]
            code = subprocess.run(command, check=False).returncode
            if code not in (_DOES_NOT_FIT, _ABORTED):
                break
            print(f"{encoder}, batch {options.batch}, {height}x{width} does not fit into memory", flush=True)
        if code:
            sys.exit(f"{encoder} could not be measured; free memory, or choose a smaller size")


if __name__ == "__main__":
    main()
