"""The cost of networks of one task, in turn: time of each, and over that of the first."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

from machine import describe_machine

from geminifusion_export.benchmarking.paired import paired_ratio, paired_seconds

Contenders = dict[str, Callable[[], object]]


def cost_parser(description: str | None, *, height: int, width: int, batch: int) -> argparse.ArgumentParser:
    """The options of a cost benchmark, with the defaults of its task."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=height)
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--batch", type=int, default=batch, help="of a training step; graphs run one at a time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9, help="rounds")
    return parser


def print_costs(options: argparse.Namespace, steps: Contenders, graphs: Contenders) -> None:
    """Measure, and print a Markdown table of each.

    Args:
        options: those of `cost_parser`.
        steps: a training step of each network.
        graphs: a pass through the exported graph of each.
    """
    print(describe_machine("torch", "onnxruntime"))
    print(f"{options.width}x{options.height}, {options.threads} threads, {options.runs} rounds")
    for title, contenders in ((f"training step of {options.batch}", steps), ("exported graph, batch 1", graphs)):
        seconds = paired_seconds(contenders, runs=options.runs, warm_up=2)
        baseline = next(iter(seconds))
        print(f"\n| {title} | ms | over `{baseline}` (quartiles) |\n|---|---|---|")
        for name, values in seconds.items():
            ratio, low, high = paired_ratio(values, seconds[baseline])
            print(f"| `{name}` | {1000 * statistics.median(values):.1f} | {ratio:.2f} ({low:.2f} … {high:.2f}) |")
