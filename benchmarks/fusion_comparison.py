"""Compare fusions at one training budget: same frames, order, variations, steps, rate and encoder for all of them.

    python benchmarks/fusion_comparison.py DATA OUT [--networks none,geminifusion --seeds 2 --steps 3000]

Every network starts from random weights, or the encoder of every stream from `--imagenet FILE`, and is trained in a
separate process, in OUT/NETWORK-seedN. Finished runs are not repeated and stopped ones are resumed, so the same command
continues a comparison, and one with other networks or more seeds adds to it. The test frames are scored by
native-labels: intact, and with each modality missing (no network was trained for that). Intervals are 95 % over test
frames; the best is compared with each other by a paired bootstrap.

Prints a Markdown table and writes it to OUT/comparison.md, all figures to OUT/comparison.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from comparing import Runs, settle_plan
from comparison_run import (
    MATRICES_NAME,
    NETWORKS,
    PLAN_NAME,
    PROTOCOL,
    RGB_ONLY,
    SCORES_NAME,
    Plan,
    plan_values,
    read_plan,
    run_directory,
)
from machine import describe_machine
from numpy.typing import NDArray
from paired_bootstrap import difference, drawn_mious, interval

from geminifusion_model.training.starts import describe_start

_FURTHER_HEADS = ("depth missing", "RGB missing", "s a step", "GB")
_DEFAULT_NETWORKS = (RGB_ONLY, "none", "token_exchange", "channel_exchange", "cross_attention", "geminifusion")


@dataclass(frozen=True)
class Entry:
    """All finished runs of one network: `scores` as `comparison_run` wrote them, `matrices` `seeds frames K K`."""

    network: str
    scores: tuple[dict[str, Any], ...]
    matrices: NDArray[np.int64]

    @property
    def miou(self) -> float:
        """Mean over the seeds, in percent."""
        return statistics.mean(score["miou"] for score in self.scores)

    def mean(self, *path: str) -> float | None:
        """Mean over the seeds of one figure of `scores`; none if a run does not have it."""
        found: list[Any] = list(self.scores)
        for name in path:
            found = [values[name] for values in found]
        return None if None in found else statistics.mean(found)

    def to_record(self) -> dict[str, Any]:
        """The figures for JSON, with the interval."""
        return {
            "network": self.network,
            "miou": self.miou,
            "miou_interval": interval(drawn_mious(self.matrices)),
            "miou_without": {name: self.mean("miou_without", name) for name in ("depth", "rgb")},
            "runs": list(self.scores),
        }


def finished(out: Path) -> list[Entry]:
    """Every network with at least one finished run, best first."""
    entries = []
    for network in NETWORKS:
        folders = sorted(path.parent for path in out.glob(f"{network}-seed*/{SCORES_NAME}"))
        if folders:
            scores = tuple(json.loads((folder / SCORES_NAME).read_text(encoding="utf-8")) for folder in folders)
            matrices = np.stack([np.load(folder / MATRICES_NAME)["matrices"] for folder in folders])
            entries.append(Entry(network, scores, matrices))
    return sorted(entries, key=lambda entry: entry.miou, reverse=True)


def table(entries: list[Entry]) -> str:
    """A Markdown table, one row per network."""
    heads = ("network", "parameters", "mIoU", "95 % over frames", "of each seed", *_FURTHER_HEADS)
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for entry in entries:
        low, high = interval(drawn_mious(entry.matrices))
        cells = [
            f"`{entry.network}`",
            f"{entry.scores[0]['parameters'] / 1e6:.2f} M",
            f"{entry.miou:.2f}",
            f"{low:.2f} … {high:.2f}",
            ", ".join(f"{score['miou']:.2f}" for score in entry.scores),
            _figure(entry.mean("miou_without", "depth")),
            _figure(entry.mean("miou_without", "rgb")),
            _figure(entry.mean("seconds_per_step")),
            _figure(entry.mean("peak_memory_gb")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def lead(entries: list[Entry]) -> list[tuple[str, dict[str, Any]]]:
    """Of the best over each other: a sentence and its numbers."""
    found = []
    for other in entries[1:]:
        by = difference(entries[0].matrices, other.matrices)
        sentence = (
            f"`{entries[0].network}` less `{other.network}`: {by.miou:+.2f} mIoU, 95 % of {by.draws} paired draws of "
            f"frames in {by.low:+.2f} … {by.high:+.2f}, p = {by.p_value:.3f} (over frames; another training seed is "
            "not in it)"
        )
        found.append((sentence, {"first": entries[0].network, "second": other.network, **dataclasses.asdict(by)}))
    return found


def report(out: Path, plan: Plan) -> str:
    """Write `comparison.md` and `comparison.json` from what is finished, and return the former."""
    entries = finished(out)
    if not entries:
        return "no run is finished yet"
    machine = describe_machine("torch")
    ahead = lead(entries)
    parts = [
        f"{plan.encoder}, {plan.steps} steps of {plan.batch_size} frames, {plan.classes} classes, "
        f"{entries[0].matrices.shape[1]} test frames, {entries[0].scores[0]['protocol']}, {plan.threads} threads",
        f"start: {describe_start(None, plan.imagenet or None)}",
        machine,
        table(entries),
        *(sentence for sentence, _ in ahead),
    ]
    text = "\n\n".join(parts) + "\n"
    (out / "comparison.md").write_text(text, encoding="utf-8")
    record = {
        "machine": machine,
        "plan": plan_values(plan),
        "protocol": PROTOCOL,
        "networks": [entry.to_record() for entry in entries],
        "lead": [numbers for _, numbers in ahead],
    }
    (out / "comparison.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return text


def network_list(text: str) -> list[str]:
    """The names of a comma-separated list; an unknown name raises an `ArgumentTypeError`."""
    names = text.split(",")
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is unknown; the networks are {', '.join(NETWORKS)}")
    return names


def main() -> None:
    """Run what is missing and print the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--networks",
        "--fusions",
        type=network_list,
        default=list(_DEFAULT_NETWORKS),
        metavar="A,B",
        help=f"of {', '.join(NETWORKS)}; the pixel_… ones are the ablations of the paper's table 9",
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each network, with seeds 0, 1, …")
    parser.add_argument("--dataset", default=Plan.dataset, help="the layout of DATA, see model/README.md")
    parser.add_argument("--classes", type=int, default=Plan.classes)
    parser.add_argument("--encoder", default=Plan.encoder)
    parser.add_argument("--imagenet", default=Plan.imagenet, help="a classifier's file for the encoder of every stream")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--batch-size", type=int, default=Plan.batch_size)
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=Plan.precision)
    parser.add_argument("--input-scale", type=float, default=Plan.input_scale)
    parser.add_argument("--test-frames", type=int, default=Plan.test_frames, help="only the first; 0 for all")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    shared = {field.name: getattr(options, field.name) for field in dataclasses.fields(Plan) if field.name != "data"}
    plan = Plan(data=str(options.data.resolve()), **shared)
    settle_plan(options.out / PLAN_NAME, plan_values(plan), lambda: plan_values(read_plan(options.out)))
    Runs(
        out=options.out,
        program=Path(__file__).with_name("comparison_run.py"),
        finished=lambda network, seed: run_directory(options.out, network, seed) / SCORES_NAME,
        report=lambda: report(options.out, plan),
    ).complete(options.networks, options.seeds)


if __name__ == "__main__":
    main()
