"""Cost of each fusion against the number of pixels: time of one layer, forward, and its peak memory.

    python benchmarks/fusion_cost.py [--channels 64 --threads 1]

Two streams, batch 1, float32. `exponent` is the slope of log time over log pixels between the two largest sizes: 1 is a
straight line, 2 a parabola. Memory is the growth of the process's peak during one pass, each in a separate process.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time

import torch
from machine import describe_machine

from geminifusion_model.fusions.registry import FUSIONS, build_fusion, init_fusions

PIXELS = (1200, 4800, 19200)


def layer(name: str, channels: int) -> torch.nn.Module:
    """One fusion with start values."""
    fusion = build_fusion(name, channels, num_heads=8)
    init_fusions(fusion)
    return fusion.eval()


@torch.inference_mode()
def measure(name: str, channels: int, pixels: int, runs: int) -> tuple[float, float]:
    """Median milliseconds of a pass, and megabytes the peak grew by in the first."""
    fusion = layer(name, channels)
    x = torch.randn(2, 1, pixels, channels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        fusion(x)
        times.append(1e3 * (time.perf_counter() - start))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return statistics.median(times[1:]), grown / 1024


def main() -> None:
    """Measure each case in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--case", nargs=2, metavar=("FUSION", "PIXELS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.case:
        print(*measure(options.case[0], options.channels, int(options.case[1]), options.runs))
        return
    print(describe_machine("torch"))
    print(f"{options.channels} channels, 8 heads, {options.threads} thread(s), median of {options.runs} passes")
    print(f"{'fusion':<26}" + "".join(f"{f'{n} pixels':>22}" for n in PIXELS) + f"{'exponent':>10}")
    for name in FUSIONS:
        cells, times = [], []
        for pixels in PIXELS:
            command = [sys.executable, __file__, "--channels", str(options.channels), "--threads", str(options.threads)]
            command += ["--runs", str(options.runs), "--case", name, str(pixels)]
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            times.append(float(found[0]))
            cells.append(f"{float(found[0]):9.2f} ms {float(found[1]):6.0f} MB")
        exponent = math.log(times[-1] / times[-2]) / math.log(PIXELS[-1] / PIXELS[-2]) if name != "none" else math.nan
        print(f"{name:<26}" + "".join(f"{cell:>22}" for cell in cells) + f"{exponent:>10.2f}")


if __name__ == "__main__":
    main()
