"""The server of this checkout against that of another one, in paired runs on one machine.

    python benchmarks/service/compare_checkouts.py OTHER [--rounds 7 --seconds 5] [--part stand-in|model]

OTHER is a clone at the commit to compare with, whose dependencies this environment must satisfy. Both servers run all
the time and are driven in turn by the same load generator, in alternating order. Printed are the ratios of throughput
and of the server's CPU time per response, taken round by round: this checkout over the other; and, for one client, what
the latency of a request is and how many milliseconds this checkout adds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from figures import describe_run, median, quartiles, ratio
from load import Outcome, run_load
from overhead import server_options
from requests_to_send import Transport, pair_of, transports
from served import Served
from stand_in import NAME

from geminifusion.server_process import running_server
from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.bundled import artifact_path

HERE = Path(__file__).resolve().parents[2]
ADDED_MS = 1.0  # to a request alone
_PACKAGES = ("runtime", "model", "export", "service")


def _stand_in_artifact(checkout: Path, folder: Path) -> Path:
    """Written by the checkout's own code, because an older one may not know today's metadata."""
    artifact = folder / "artifact"
    write = "import sys, pathlib, stand_in; stand_in.write_stand_in(pathlib.Path(sys.argv[1]))"
    paths = _python_path(checkout) + os.pathsep + str(checkout / "benchmarks" / "service")
    subprocess.run(["env", f"PYTHONPATH={paths}", sys.executable, "-c", write, artifact], check=True)
    return artifact


def _python_path(checkout: Path) -> str:
    return os.pathsep.join(str(checkout / package) for package in _PACKAGES)


@contextmanager
def _server(checkout: Path, folder: Path, *, stand_in: bool) -> Iterator[Served]:
    if stand_in:
        program: list[object] = [checkout / "benchmarks" / "service" / "stand_in.py"]
        arguments: list[object] = [*server_options(), "--artifact", _stand_in_artifact(checkout, folder)]
    else:
        program, arguments = ["-m", "geminifusion", "serve"], ["--queue-size", 256]
    command = ["env", f"PYTHONPATH={_python_path(checkout)}", sys.executable, *program]
    folder.mkdir(exist_ok=True)
    log = folder / "server.log"
    with running_server(arguments, log, command=command, ready_s=180, stop_s=30) as server:
        http, grpc = (urlsplit(url) for url in (server.http_url, server.grpc_url))
        assert http.hostname is not None
        assert http.port is not None
        assert grpc.port is not None
        yield Served(host=http.hostname, http_port=http.port, grpc_port=grpc.port, pid=server.pid)


Outcomes = Mapping[Path, list[Outcome]]  # of each checkout, by round


def compare(other: Path, options: argparse.Namespace, *, stand_in: bool) -> str:
    """Two Markdown tables: every transport at every number of clients, and with one client."""
    outcomes: dict[tuple[str, int], dict[Path, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as servers:
        folder = Path(temporary)
        ways: list[Transport] = transports(pair_of(), NAME if stand_in else read_metadata(artifact_path()).name)
        running = {
            checkout: servers.enter_context(_server(checkout, folder / name, stand_in=stand_in))
            for name, checkout in (("this", HERE), ("other", other))
        }
        for number in range(options.rounds):
            for way in ways:
                for clients in dict.fromkeys((*options.clients, 1)):
                    for checkout in (HERE, other) if number % 2 else (other, HERE):
                        server = running[checkout]
                        load = way.load(
                            server.host,
                            server.port(way.protocol),
                            folder,
                            clients=clients,
                            seconds=options.seconds,
                            watched_pid=server.pid,
                        )
                        outcomes[way.name, clients][checkout].append(run_load(load))
    return f"{_under_load(outcomes, other, options.clients)}\n\nOne request alone\n\n{_alone(outcomes, other)}"


def _under_load(outcomes: Mapping[tuple[str, int], Outcomes], other: Path, counts: Sequence[int]) -> str:
    lines = [
        "| transport | clients | pairs/s of other | of this | throughput (quartiles) | CPU (quartiles) | failures |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, clients), runs in outcomes.items():
        if clients not in counts:
            continue
        ours, theirs = runs[HERE], runs[other]
        speed = ratio([run.throughput for run in ours], [run.throughput for run in theirs])
        cost = ratio([run.server_cpu_ms for run in ours], [run.server_cpu_ms for run in theirs])
        middle = [median([run.throughput for run in each]) for each in (theirs, ours)]
        lines.append(
            f"| {name} | {clients} | {middle[0]:.1f} | {middle[1]:.1f} | {_quartiles(speed)} | {_quartiles(cost)} "
            f"| {_failures(runs)} |"
        )
    return "\n".join(lines)


def _alone(outcomes: Mapping[tuple[str, int], Outcomes], other: Path) -> str:
    lines = [
        "| transport | ms of other | of this | added, ms (quartiles) | CPU (quartiles) | failures | at most 1 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, clients), runs in outcomes.items():
        if clients != 1:
            continue
        ours, theirs = ([run.codes["200"].p50 for run in runs[checkout]] for checkout in (HERE, other))
        added = quartiles([mine - its for mine, its in zip(ours, theirs, strict=True)])
        cost = ratio([run.server_cpu_ms for run in runs[HERE]], [run.server_cpu_ms for run in runs[other]])
        lines.append(
            f"| {name} | {median(theirs):.2f} | {median(ours):.2f} | {_quartiles(added, '+.2f')} | {_quartiles(cost)} "
            f"| {_failures(runs)} | {'met' if added[0] <= ADDED_MS else 'missed'} |"
        )
    return "\n".join(lines)


def _failures(runs: Outcomes) -> int:
    return sum(count for outcomes in runs.values() for run in outcomes for count in run.failures.values())


def _quartiles(found: tuple[float, float, float], form: str = ".3f") -> str:
    return f"{found[0]:{form}} ({found[1]:{form}} … {found[2]:{form}})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--part", choices=["stand-in", "model", "both"], default="both")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a server in a round")
    parser.add_argument("--clients", type=int, nargs="+", default=[8])
    options = parser.parse_args()
    print(describe_run(*sys.argv[1:]))
    if options.part != "model":
        print(f"Stand-in for an accelerator\n\n{compare(options.other.resolve(), options, stand_in=True)}", flush=True)
    if options.part != "stand-in":
        print(f"\nThe bundled model\n\n{compare(options.other.resolve(), options, stand_in=False)}", flush=True)


if __name__ == "__main__":
    main()
