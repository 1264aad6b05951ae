"""Compare fusions of a camera and a LiDAR at one budget: same frames, order, variations, steps and rate.

    geminifusion data streets STREETS
    python benchmarks/detection/compare.py STREETS OUT [--seeds 2 --steps 2000]

Every detector is trained in a separate process, in OUT/NETWORK-seedN. Finished runs are not repeated and stopped ones
are resumed, so the same command continues a comparison, and one with other networks or more seeds adds to it. All are
scored on the same frames; differences are paired draws of frames, and the mean over seeds is compared.

Prints Markdown tables and writes them to OUT/comparison.md, all figures to OUT/comparison.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from compared_run import (
    FINISHED_NAME,
    NETWORKS,
    PLAN_NAME,
    Plan,
    plan_values,
    read_plan,
    results_directory,
    run_directory,
)

from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.evaluation.detecting import read_results
from geminifusion_model.detection.evaluation.intervals import drawn_values, paired_difference
from geminifusion_model.detection.evaluation.kitti_ap import Cell, CellName, KittiScores, kitti_scores
from geminifusion_model.detection.evaluation.robustness import CHANGES
from geminifusion_model.evaluation.intervals import percentile_interval

sys.path.append(str(Path(__file__).resolve().parents[1]))

from comparing import Runs, settle_plan
from machine import describe_machine

_CLASSES = ("pedestrian", "cyclist", "car")
_PAIRS = (
    ("sum-last", "lidar"),
    ("geminifusion-last", "sum-last"),
    ("sum-both", "sum-last"),
    ("geminifusion-both", "sum-both"),
    ("geminifusion-both", "geminifusion-last"),
    ("geminifusion-both", "sum-last"),
)
"""The last one is the published comparison, which changes two things at once."""
_MEASURE = "r40"


@dataclass(frozen=True)
class Entry:
    """All finished runs of one detector."""

    network: str
    scores: tuple[KittiScores, ...]
    changed: dict[str, tuple[KittiScores, ...]]
    finished: tuple[dict[str, Any], ...]

    def cells(self, name: CellName) -> list[Cell]:
        """Of every seed."""
        return [scores.cells[name] for scores in self.scores]


def finished_entries(out: Path, plan: Plan) -> list[Entry]:
    """Every detector with at least one finished run, scored."""
    frames = plan.frames("val")

    def scored(folder: Path, change: str | None) -> KittiScores:
        return kitti_scores(read_results(results_directory(folder, change), frames), _CLASSES)

    entries = []
    for network in NETWORKS:
        folders = sorted(path.parent for path in out.glob(f"{network}-seed*/{FINISHED_NAME}"))
        if folders:
            names = CHANGES if plan.robustness else {}
            entries.append(
                Entry(
                    network,
                    tuple(scored(folder, None) for folder in folders),
                    {name: tuple(scored(folder, name) for folder in folders) for name in names},
                    tuple(json.loads((folder / FINISHED_NAME).read_text(encoding="utf-8")) for folder in folders),
                )
            )
    return entries


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)])


def mean_figure(scores: tuple[KittiScores, ...], name: CellName, measure: str) -> float:
    """Over seeds."""
    return float(np.mean([getattr(each.cells[name].figures(), measure) for each in scores]))


def scores_table(entries: list[Entry], *, loose: bool) -> tuple[str, list[dict[str, Any]]]:
    """A row for each detector: 3-D AP, moderate, R40 with its interval over frames, every seed, and all-point."""
    rows, records = [], []
    for entry in entries:
        took = [run["seconds_per_step"] for run in entry.finished if run["seconds_per_step"] is not None]
        cells = [f"`{entry.network}`", f"{entry.finished[0]['parameters'] / 1e6:.2f} M"]
        for class_name in _CLASSES:
            name = CellName(class_name, "moderate", "3d", loose)
            value = mean_figure(entry.scores, name, _MEASURE)
            within = percentile_interval(drawn_values(entry.cells(name), _MEASURE))
            seeds = ", ".join(f"{cell.figures().r40:.1f}" for cell in entry.cells(name))
            point = mean_figure(entry.scores, name, "all_point")
            cells.append(f"{value:.2f} ({within}; seeds {seeds}; all-point {point:.2f})")
            records.append(
                {
                    "network": entry.network,
                    "class": class_name,
                    "loose": loose,
                    "r40": value,
                    "low": within.low,
                    "high": within.high,
                    "seeds": [cell.figures()._asdict() for cell in entry.cells(name)],
                }
            )
        rows.append([*cells, f"{statistics.mean(took):.2f}" if took else "–"])
    return markdown(["network", "parameters", *_CLASSES, "s a step"], rows), records


def paired_table(entries: list[Entry], *, loose: bool) -> tuple[str, list[dict[str, Any]]]:
    """The differences of `_PAIRS` on the same drawn frames."""
    by_name = {entry.network: entry for entry in entries}
    rows, records = [], []
    for ours, theirs in _PAIRS:
        if ours not in by_name or theirs not in by_name:
            continue
        cells = [f"`{ours}` less `{theirs}`"]
        for class_name in _CLASSES:
            name = CellName(class_name, "moderate", "3d", loose)
            found = paired_difference(by_name[ours].cells(name), by_name[theirs].cells(name), _MEASURE)
            cells.append(f"{found.value:+.2f} ({found.interval}), p = {found.p_value:.3f}")
            records.append(
                {"first": ours, "second": theirs, "class": class_name, "loose": loose, **dataclasses.asdict(found)}
            )
        rows.append(cells)
    return markdown(["", *_CLASSES], rows), records


def robustness_table(entries: list[Entry]) -> tuple[str, list[dict[str, Any]]]:
    """Mean over classes and seeds of 3-D AP R40, moderate, looser overlaps, with every change of the sensors."""
    names = [CellName(class_name, "moderate", "3d", True) for class_name in _CLASSES]
    rows, records = [], []
    for entry in entries:
        by_change = {"as it is": entry.scores, **entry.changed}
        values = {
            change: float(np.mean([mean_figure(scores, name, _MEASURE) for name in names]))
            for change, scores in by_change.items()
        }
        rows.append([f"`{entry.network}`", *(f"{value:.2f}" for value in values.values())])
        records.append({"network": entry.network, **values})
    return markdown(["network", "as it is", *entries[0].changed], rows), records


def report(out: Path, plan: Plan) -> str:
    """Write `comparison.md` and `comparison.json` from what is finished, and return the former."""
    entries = finished_entries(out, plan)
    if not entries:
        return "no run is finished yet"
    scores = entries[0].scores[0]
    objects = ", ".join(f"{scores.counts()[name, 'moderate']} {name}" for name in _CLASSES)
    machine = describe_machine("torch")
    start = f"{plan.image_encoder} from {plan.imagenet}" if plan.imagenet else "random weights"
    parts = [
        f"{plan.data}: {plan.steps} steps of {plan.batch_size} frames, {plan.width}x{plan.height}, "
        f"{plan.reach:g} m, pillars of {plan.pillar:g} m, {start}; {scores.num_frames} frames with {objects} "
        f"(moderate); {plan.threads} threads",
        machine,
    ]
    record: dict[str, Any] = {"machine": machine, "plan": plan_values(plan), "scores": [], "paired": []}
    for loose, title in ((False, "IoU .7 car, .5 others"), (True, "IoU .5 car, .25 others")):
        table, figures = scores_table(entries, loose=loose)
        parts.append(f"3-D AP R40, moderate, {title}; 95 % over frames\n\n{table}")
        record["scores"] += figures
        paired, differences = paired_table(entries, loose=loose)
        if differences:
            parts.append(f"Paired, the same draws of frames\n\n{paired}")
            record["paired"] += differences
    if plan.robustness:
        table, record["robustness"] = robustness_table(entries)
        parts.append(f"Mean over classes, IoU .5 car, .25 others, with failing sensors\n\n{table}")
    parts += [f"warning: {warning}" for warning in scores.warnings() if ", moderate" in warning]
    text = "\n\n".join(parts) + "\n"
    (out / "comparison.md").write_text(text, encoding="utf-8")
    (out / "comparison.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return text


def main() -> None:
    """Run what is missing and print the tables after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--networks", default=",".join(NETWORKS), metavar="A,B", help="of those named in NETWORKS")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each network, with seeds 0, 1, …")
    parser.add_argument("--height", type=int, default=Plan.height)
    parser.add_argument("--width", type=int, default=Plan.width)
    parser.add_argument("--reach", type=float, default=Plan.reach, help="metres")
    parser.add_argument("--pillar", type=float, default=Plan.pillar, help="metres")
    parser.add_argument("--image-encoder", default=Plan.image_encoder)
    parser.add_argument("--imagenet", default=Plan.imagenet, help="a classifier's weights for the image encoder")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--batch-size", type=int, default=Plan.batch_size)
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    parser.add_argument("--train-frames", type=int, default=Plan.train_frames, help="only the first; 0 for all")
    parser.add_argument("--val-frames", type=int, default=Plan.val_frames, help="only the first; 0 for all")
    parser.add_argument("--no-robustness", dest="robustness", action="store_false")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    networks = options.networks.split(",")
    if unknown := [name for name in networks if name not in NETWORKS]:
        sys.exit(f"there is no network {unknown[0]!r}; the networks are {', '.join(NETWORKS)}")
    plan = Plan(
        **{
            **{field.name: getattr(options, field.name) for field in dataclasses.fields(Plan)},
            "data": str(options.data.resolve()),
        }
    )
    try:
        plan.configuration(networks[0], 0)
        plan.frames("val")
    except (DatasetError, ValueError) as error:
        sys.exit(str(error))
    settle_plan(options.out / PLAN_NAME, plan_values(plan), lambda: plan_values(read_plan(options.out)))
    Runs(
        out=options.out,
        program=Path(__file__).with_name("compared_run.py"),
        finished=lambda network, seed: run_directory(options.out, network, seed) / FINISHED_NAME,
        report=lambda: report(options.out, plan),
    ).complete(networks, options.seeds)


if __name__ == "__main__":
    main()
