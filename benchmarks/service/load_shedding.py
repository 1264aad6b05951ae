"""What load shedding gains under overload, from the CPU time of a rejection with it and without it.

    python benchmarks/service/load_shedding.py [--rounds 16 --seconds 3 --rate 150 --factor 4]

Goodput varies more between two runs on a shared machine than between the two servers, CPU time per request does not.
In a round three servers of the stand-in are driven in turn: one at its capacity, which gives the CPU time `a` of a
success, and two that reject every request, with and without load shedding, which give that of a rejection, `b`. With
f times the capacity C offered, the goodput G takes what the rejections leave of the CPU: C a = G a + (f C - G) b.

This file is also the script of the servers that reject: its first argument is `shedding` or `application`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from figures import describe_run, median
from load import run_load
from overhead import MAX_BATCH, STAND_IN_SERVER
from requests_to_send import multipart, pair_of
from served import Served, served
from stand_in import serve_stand_in, write_stand_in

KINDS = ("shedding", "application")
WORTH_KEEPING = 0.05  # of the capacity
_CLIENTS = 32


def goodput(success_ms: float, rejection_ms: float, factor: float) -> float:
    """Goodput over capacity at `factor` times the capacity, at most 1."""
    share = rejection_ms / success_ms
    return min(1.0, (1 - factor * share) / (1 - share))


def quartiles(values: Sequence[float]) -> str:
    """The median and the quartiles around it."""
    low, _, high = statistics.quantiles(values, n=4)
    return f"{median(values):.3f} ({low:.3f} … {high:.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a server in a round")
    parser.add_argument("--rate", type=float, default=150.0, help="requests per second that are rejected")
    parser.add_argument("--factor", type=float, default=4.0, help="offered load over capacity")
    options = parser.parse_args()
    pair = pair_of()
    request = multipart(pair)
    print(describe_run(pair, *sys.argv[1:]))
    successes: list[float] = []
    rejections: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as servers:
        folder = Path(temporary)
        artifact = write_stand_in(folder / "artifact")
        batching = ["--max-batch", MAX_BATCH, "--max-batch-pixels", MAX_BATCH * pair.height * pair.width]
        serving = [*batching, "--queue-size", _CLIENTS, "--decode-isolation", "process"]
        at_capacity = servers.enter_context(served(artifact, *serving, script=STAND_IN_SERVER))
        rejecting = {
            kind: servers.enter_context(served(artifact, script=Path(__file__), script_arguments=[kind]))
            for kind in KINDS
        }

        def cpu_ms(server: Served, code: str, **load: float) -> float:
            outcome = run_load(
                request.load(
                    server.host, server.http_port, folder, seconds=options.seconds, watched_pid=server.pid, **load
                )
            )
            assert outcome.server_cpu_s is not None
            return 1000 * outcome.server_cpu_s / outcome.codes[code].count

        for number in range(options.rounds):
            successes.append(cpu_ms(at_capacity, "200", clients=_CLIENTS))
            for kind in KINDS if number % 2 else reversed(KINDS):
                rejections[kind].append(cpu_ms(rejecting[kind], "429", rate=options.rate, seed=number))
    print(f"CPU of a success: {quartiles(successes)} ms\n")
    print(f"| rejected by | CPU ms of a rejection | goodput at {options.factor:g} x capacity |\n|---|---|---|")
    goodputs: dict[str, list[float]] = {}
    for kind, costs in rejections.items():
        goodputs[kind] = [goodput(a, b, options.factor) for a, b in zip(successes, costs, strict=True)]
        print(f"| {kind} | {quartiles(costs)} | {quartiles(goodputs[kind])} |")
    gains = [a - b for a, b in zip(*goodputs.values(), strict=True)]
    print(f"\n- gain by load shedding: {quartiles(gains)} of capacity, worth keeping from {WORTH_KEEPING:.2f}")


def _serve(kind: str, arguments: Sequence[str]) -> None:
    from geminifusion_service import server
    from geminifusion_service.errors import QueueFullError
    from geminifusion_service.pipeline.admission import AdmissionControl

    def reject(*_: object, **__: object) -> NoReturn:
        raise QueueFullError("32 requests are in flight, which is all this server takes", retry_after_s=1)

    AdmissionControl.check = reject  # type: ignore[method-assign]
    if kind == "application":
        setattr(server, "LoadShedder", lambda *_, **__: None)  # noqa: B010
    serve_stand_in(arguments)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in KINDS:
        _serve(sys.argv[1], sys.argv[2:])
    else:
        main()
