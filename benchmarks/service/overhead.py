"""What the server costs over the same work without a server, in throughput and in CPU time.

    python benchmarks/service/overhead.py [--rounds 3 --seconds 6] [--part stand-in|model] [--profile]

Two regimes. With a stand-in for a fast accelerator the server is what is measured: against a loop that decodes, runs
and encodes in one process on the same cores, with the same codecs; the load generator shares those cores. With the
bundled model the model is, and the question is whether the server takes anything from it.

In a round every contender runs once, and ratios are taken round by round. CPU time is that of the server's processes
per response, less that of the loop. Prints Markdown; `--profile` prints instead where the server's own CPU time goes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bare import Bare, run_bare
from figures import describe_run, median, ratio
from load import Latency, Outcome, run_load
from loop_profile import profile
from requests_to_send import Transport, pair_of, transports
from served import Served, served
from stand_in import NAME, write_stand_in

import geminifusion_runtime.bundled
from geminifusion_runtime.cpu_count import usable_cores

STAND_IN_SERVER = Path(__file__).with_name("stand_in.py")
MAX_BATCH = 8
# What the project asks of itself: throughput over the loop's, and CPU milliseconds more than it.
GOALS = {
    "REST multipart": (0.87, 2.0),
    "Open Inference binary": (0.90, 1.5),
    "gRPC": (0.87, 1.5),
    "Open Inference gRPC": (0.87, 1.5),
}
OVER_OPENCV, WITH_MODEL = 1.25, 0.95

Rounds = dict[tuple[str, int], list[Outcome]]
Baselines = dict[str, list[Bare]]


def measure(
    server: Served,
    ways: list[Transport],
    baselines: dict[str, Callable[[], Bare]],
    options: argparse.Namespace,
    folder: Path,
) -> tuple[Rounds, Baselines]:
    """Every transport at every number of clients, and every loop, once a round."""
    outcomes: Rounds = defaultdict(list)
    bare: Baselines = defaultdict(list)
    for _ in range(options.rounds):
        for name, run in baselines.items():
            bare[name].append(run())
        for way in ways:
            for clients in options.clients:
                port = server.port(way.protocol)
                load = way.load(
                    server.host, port, folder, clients=clients, seconds=options.seconds, watched_pid=server.pid
                )
                outcomes[way.name, clients].append(run_load(load))
    return outcomes, bare


def table(outcomes: Rounds, bare: Baselines) -> str:
    """Markdown: the loops, then every contender."""
    lines = ["| in one process | pairs/s | CPU ms per pair | ms of one pair |", "|---|---|---|---|"]
    for name, loops in bare.items():
        throughput, cpu = median([loop.throughput for loop in loops]), median([loop.cpu_ms for loop in loops])
        lines.append(f"| {name} | {throughput:.1f} | {cpu:.1f} | {median([loop.p50_ms for loop in loops]):.1f} |")
    lines += [
        "",
        "| served | clients | pairs/s | x loop (quartiles) | p50 ms | p99 ms | server CPU ms over loop "
        "| generator CPU ms | failures |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    base = next(iter(bare.values()))
    for (name, clients), runs in outcomes.items():
        over = [run.server_cpu_ms - loop.cpu_ms for run, loop in zip(runs, base, strict=True)]
        own = median([1000 * run.client_cpu_s / max(1, run.succeeded) for run in runs])
        failures = sum(sum(run.failures.values()) for run in runs)
        good = [run.codes["200"] for run in runs if run.succeeded]
        p50, p99 = middle_latency(good)
        lines.append(
            f"| {name} | {clients} | {median([run.throughput for run in runs]):.1f} | {_over_loop(runs, base)} | "
            f"{p50:.1f} | {p99:.1f} | {median(over):+.2f} | {own:.2f} | {failures} |"
        )
    return "\n".join(lines)


def middle_latency(latencies: list[Latency]) -> tuple[float, float]:
    """The medians of p50 and of p99, in milliseconds; not a number if nothing was served."""
    if not latencies:
        return float("nan"), float("nan")
    return median([latency.p50 for latency in latencies]), median([latency.p99 for latency in latencies])


def _over_loop(runs: list[Outcome], base: list[Bare]) -> str:
    middle, low, high = ratio([run.throughput for run in runs], [loop.throughput for loop in base])
    return f"{middle:.3f} ({low:.3f} … {high:.3f})"


def best(outcomes: Rounds, base: list[Bare], name: str) -> float:
    """The better ratio of the numbers of clients."""
    against = [loop.throughput for loop in base]
    return max(
        ratio([run.throughput for run in runs], against)[0] for (way, _), runs in outcomes.items() if way == name
    )


def verdict(name: str, found: float, asked: float, *, at_most: bool = False, unit: str = "x") -> str:
    """One line: asked, found, met or missed."""
    met = found <= asked if at_most else found >= asked
    return (
        f"- {name}: {found:.2f}{unit} of {'at most' if at_most else 'at least'} {asked:.2f}{unit} asked: "
        f"{'met' if met else 'missed'}"
    )


def with_stand_in(options: argparse.Namespace) -> str:
    """The server is what is measured."""
    with tempfile.TemporaryDirectory() as folder:
        directory = write_stand_in(Path(folder) / "artifact")
        pair = pair_of()

        def loop(codecs: str) -> Bare:
            return run_bare(stand_in=directory, codecs=codecs, seconds=options.seconds, max_batch=MAX_BATCH)

        baselines = {
            "pipelined, our codecs in processes": lambda: loop("processes"),
            "pipelined, our codecs in threads": lambda: loop("service"),
            "pipelined, OpenCV in threads": lambda: loop("opencv"),
        }
        with served(directory, *server_options(), script=STAND_IN_SERVER) as server:
            outcomes, bare = measure(server, transports(pair, NAME), baselines, options, Path(folder))
    ours, threads, opencv = bare.values()
    lines = [f"### Stand-in for an accelerator, {pair}, {options.rounds} rounds of {options.seconds:g} s\n"]
    lines += [table(outcomes, bare), ""]
    for name, (asked, asked_cpu) in GOALS.items():
        lines.append(verdict(f"{name}, throughput", best(outcomes, ours, name), asked))
        over = [
            median([run.server_cpu_ms - loop.cpu_ms for run, loop in zip(runs, ours, strict=True)])
            for (way, _), runs in outcomes.items()
            if way == name
        ]
        lines.append(verdict(f"{name}, server CPU over the loop", min(over), asked_cpu, at_most=True, unit=" ms"))
        lines.append(f"  ({best(outcomes, threads, name):.2f}x of the loop with our codecs in threads)")
    lines.append(
        verdict("REST multipart over the loop with OpenCV", best(outcomes, opencv, "REST multipart"), OVER_OPENCV)
    )
    return "\n".join(lines)


def server_options() -> list[object]:
    """For the stand-in: batches as large as the loop's; room for all clients; decoding as beside an accelerator."""
    room = ["--max-batch", MAX_BATCH, "--max-batch-pixels", MAX_BATCH * 480 * 640, "--queue-size", 256]
    return [*room, "--decode-isolation", "process"]


def with_model(options: argparse.Namespace) -> str:
    """The model is what takes the time."""
    artifact = geminifusion_runtime.bundled.artifact_path()
    pair = pair_of()

    def loop(kind: str) -> Bare:
        seconds = max(options.seconds, 10.0)
        return run_bare(artifact=artifact, loop=kind, max_batch=1, in_flight=8, seconds=seconds)

    baselines = {"sequential": lambda: loop("sequential"), "pipelined": lambda: loop("pipelined")}
    long = argparse.Namespace(**vars(options) | {"seconds": max(options.seconds, 15.0)})
    with tempfile.TemporaryDirectory() as folder, served(artifact, "--queue-size", 256) as server:
        way = transports(pair, "")[0]
        outcomes, bare = measure(server, [way], baselines, long, Path(folder))
    # The better of the two loops is what a server has to match.
    names = sorted(bare, key=lambda name: -median([run.throughput for run in bare[name]]))
    ordered = {name: bare[name] for name in names}
    lines = [f"### The bundled model, {pair}, {options.rounds} rounds of {long.seconds:g} s\n"]
    lines += [table(outcomes, ordered), ""]
    for clients in options.clients:
        found = {key: runs for key, runs in outcomes.items() if key[1] == clients}
        lines.append(
            verdict(f"{clients} clients, over the better loop", best(found, ordered[names[0]], way.name), WITH_MODEL)
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["stand-in", "model", "both"], default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a contender in a round")
    parser.add_argument("--clients", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    print(describe_run(f"{usable_cores()} cores used", *sys.argv[1:]))
    if options.profile:
        with tempfile.TemporaryDirectory() as folder:
            directory = write_stand_in(Path(folder) / "artifact")
            print(profile(transports(pair_of(), NAME), directory, server_options(), options.seconds, Path(folder)))
        return
    if options.part != "model":
        print(with_stand_in(options), flush=True)
    if options.part != "stand-in":
        print("\n" + with_model(options), flush=True)


if __name__ == "__main__":
    main()
