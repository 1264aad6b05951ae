"""Compare fusions and single inputs of translators at one budget: same views, order, variations, steps and rate.

    python benchmarks/translation/compare.py DATA OUT [--inputs rgb,edge_occlusion --target depth --seeds 2]

DATA is best a folder of aligned images (`geminifusion data rooms FOLDER --aligned`, `geminifusion data domains`), of
which nothing has to be computed. Every network starts from random weights and is trained in a separate process, in
OUT/NETWORK-seedN. Finished runs are not repeated and stopped ones are resumed, so the same command continues a
comparison, and one with other networks or more seeds adds to it. Intervals are 95 % over test views; `geminifusion` is
compared with every other network by a paired bootstrap.

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
from compared_run import PLAN_NAME, SCORES_NAME, VALUES_NAME, Plan, plan_values, read_plan, run_directory
from numpy.typing import NDArray

from geminifusion_model.data.sample import DatasetError
from geminifusion_model.evaluation.intervals import Interval
from geminifusion_model.translation.dataset import domains_of_layout, layout_of
from geminifusion_model.translation.domains import DomainError, check_names, find
from geminifusion_model.translation.layouts import LAYOUTS
from geminifusion_model.translation.metrics import Measure, measures_of
from geminifusion_model.translation.scores import paired_difference, score, score_interval
from geminifusion_model.translation.tables import NOT_PUBLISHED, number
from geminifusion_model.translation.transforms import check_size

sys.path.append(str(Path(__file__).resolve().parents[1]))

from comparing import Runs, settle_plan
from machine import describe_machine

_OURS = "geminifusion"
_FUSIONS = (_OURS, "token_exchange", "none")


@dataclass(frozen=True)
class Entry:
    """All finished runs of one network: `scores` as `compared_run` wrote them, `values` `seeds views measures`."""

    network: str
    scores: tuple[dict[str, Any], ...]
    values: NDArray[np.float64]

    def of(self, place: int) -> NDArray[np.float64]:
        """One measure, `seeds views`."""
        return self.values[:, :, place]

    def mean(self, *path: str) -> float | None:
        """Mean over the seeds of one figure of `scores`; none if a run does not have it."""
        found: list[Any] = list(self.scores)
        for name in path:
            found = [values.get(name) for values in found]
        return None if None in found else statistics.mean(found)


def finished(out: Path, plan: Plan) -> list[Entry]:
    """Every network with at least one finished run."""
    entries = []
    for network in plan.networks:
        folders = sorted(path.parent for path in out.glob(f"{network}-seed*/{SCORES_NAME}"))
        if folders:
            scores = tuple(json.loads((folder / SCORES_NAME).read_text(encoding="utf-8")) for folder in folders)
            values = np.stack([np.load(folder / VALUES_NAME)["values"] for folder in folders])
            entries.append(Entry(network, scores, values))
    return entries


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)])


def scores_table(entries: list[Entry], measures: tuple[Measure, ...]) -> str:
    """A row for each network: the mean over seeds, its interval over views, and every seed."""
    distances = list(entries[0].scores[0]["distances"])
    head = ["network", "parameters", *(found.title for found in measures), *distances, "s a step"]
    rows = []
    for entry in entries:
        cells = [f"`{entry.network}`", f"{entry.scores[0]['parameters'] / 1e6:.2f} M"]
        for place, measure in enumerate(measures):
            values = entry.of(place)
            seeds = ", ".join(number(measure.average(of_seed), measure) for of_seed in values)
            cells.append(
                f"{number(score(values, measure), measure)} ({between(score_interval(values, measure), measure)}; "
                f"seeds {seeds})"
            )
        cells += [figure(entry.mean("distances", name)) for name in distances]
        rows.append([*cells, figure(entry.mean("seconds_per_step"))])
    return markdown(head, rows)


def between(within: Interval, measure: Measure) -> str:
    """The ends of an interval."""
    return f"{number(within.low, measure)} … {number(within.high, measure)}"


def figure(value: float | None) -> str:
    """A figure of two digits, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def paired_table(entries: list[Entry], measures: tuple[Measure, ...]) -> tuple[str, list[dict[str, Any]]] | None:
    """`geminifusion` less every other network on the same views, and the figures; none before two have finished."""
    ours = next((entry for entry in entries if entry.network == _OURS), None)
    others = [entry for entry in entries if entry.network != _OURS]
    if ours is None or not others:
        return None
    rows, records = [], []
    for entry in others:
        cells = [f"`{entry.network}`"]
        for place, measure in enumerate(measures):
            found = paired_difference(ours.of(place), entry.of(place), measure)
            cells.append(
                f"{found.value:+.{measure.digits}f} ({between(found.interval, measure)}), p = {found.p_value:.3f}"
            )
            records.append({"against": entry.network, "measure": measure.name, **dataclasses.asdict(found)})
        rows.append(cells)
    heads = [f"{measure.title} ({measure.better} is better)" for measure in measures]
    return markdown([f"`{_OURS}` less", *heads], rows), records


def report(out: Path, plan: Plan) -> str:
    """Write `comparison.md` and `comparison.json` from what is finished, and return the former."""
    entries = finished(out, plan)
    if not entries:
        return "no run is finished yet"
    measures = measures_of(domains_of_layout(plan.dataset)[plan.target])
    first = max((entry.scores[0] for entry in entries), key=lambda scores: len(scores["inputs"]))
    loss = "with a discriminator" if plan.adversarial_weight else "difference from the target alone"
    machine = describe_machine("torch")
    parts = [
        f"{' + '.join(plan.inputs)} → {plan.target}: {first['data']}, {plan.generator}, {plan.width}x{plan.height}, "
        f"{plan.steps} steps of {plan.batch_size} views from random weights, {loss}; {first['views']} test views, "
        f"{plan.threads} threads",
        machine,
        f"inputs: {'; '.join(f'{name}: {what}' for name, what in first['inputs'].items())}",
        scores_table(entries, measures),
    ]
    paired = paired_table(entries, measures)
    if paired is not None:
        parts += [paired[0], "Paired draws of test views; another training seed is not in the intervals."]
    parts.append(NOT_PUBLISHED)
    text = "\n\n".join(parts) + "\n"
    (out / "comparison.md").write_text(text, encoding="utf-8")
    record = {
        "machine": machine,
        "plan": plan_values(plan),
        "networks": [{"network": entry.network, "runs": list(entry.scores)} for entry in entries],
        "paired": None if paired is None else paired[1],
    }
    (out / "comparison.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return text


def check_plan(plan: Plan) -> None:
    """Refuse what cannot be trained, before anything is.

    Raises:
        DomainError: inputs, target or size do not fit a translator or the data.
    """
    check_names(plan.inputs, plan.target)
    if len(plan.inputs) != 2:
        raise DomainError(f"inputs are {', '.join(plan.inputs)}; a comparison of fusions needs two")
    check_size((plan.height, plan.width))
    target = find(domains_of_layout(plan.dataset), (*plan.inputs, plan.target), f"the layout {plan.dataset}")[-1]
    if plan.distances and target.kind != "color":
        raise DomainError(f"distances are those of photographs, and the target is {plan.target}; leave them out")


def main() -> None:
    """Run what is missing and print the tables after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--networks",
        metavar="A,B",
        help="fusions, and inputs for those alone; by default geminifusion, token_exchange, none and both inputs",
    )
    parser.add_argument("--seeds", type=int, default=2, help="runs of each network, with seeds 0, 1, …")
    parser.add_argument("--dataset", choices=LAYOUTS, help="the layout of DATA; by default what its files look like")
    parser.add_argument("--inputs", default=",".join(Plan.inputs), metavar="A,B")
    parser.add_argument("--target", default=Plan.target)
    parser.add_argument("--generator", default=Plan.generator)
    parser.add_argument("--height", type=int, default=Plan.height)
    parser.add_argument("--width", type=int, default=Plan.width)
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--batch-size", type=int, default=Plan.batch_size)
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    parser.add_argument("--adversarial-weight", type=float, default=Plan.adversarial_weight)
    parser.add_argument("--test-views", type=int, default=Plan.test_views, help="only the first; 0 for all")
    parser.add_argument("--distances", action="store_true", help="also those of EfficientNet-Lite2's features")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    try:
        plan = Plan(
            **{
                **{field.name: getattr(options, field.name) for field in dataclasses.fields(Plan)},
                "data": str(options.data.resolve()),
                "dataset": layout_of(options.data, options.dataset),
                "inputs": tuple(options.inputs.split(",")),
            }
        )
        check_plan(plan)
    except (DatasetError, DomainError) as error:
        sys.exit(str(error))
    networks = (*_FUSIONS, *plan.inputs) if options.networks is None else tuple(options.networks.split(","))
    if unknown := [name for name in networks if name not in plan.networks]:
        sys.exit(f"there is no network {unknown[0]!r}; the networks are {', '.join(plan.networks)}")
    settle_plan(options.out / PLAN_NAME, plan_values(plan), lambda: plan_values(read_plan(options.out)))
    Runs(
        out=options.out,
        program=Path(__file__).with_name("compared_run.py"),
        finished=lambda network, seed: run_directory(options.out, network, seed) / SCORES_NAME,
        report=lambda: report(options.out, plan),
    ).complete(networks, options.seeds)


if __name__ == "__main__":
    main()
