"""Overload: goodput at four times the capacity, and how fast the rest is rejected.

    python benchmarks/service/overload.py [--seconds 60] [--factor 4] [--queue-size 32] [--transport multipart|…]

The stand-in for an accelerator is served, so capacity is that of decoding, encoding and the server. It is measured in a
closed loop before and after, in the same run. The overload is an open loop of Poisson arrivals whose clients send
headers and body at once, as most do, and disconnect when they are rejected; the load generator shares the cores.

An accepted request waits for those before it, so the bound of its latency follows from how many are admitted: with
`--queue-size` Q at a capacity of C requests/s, Q/C seconds plus the maximum wait and two batch times.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from figures import describe_run
from load import Outcome, run_load, start_load
from overhead import MAX_BATCH, STAND_IN_SERVER, verdict
from process_figures import resident_bytes
from requests_to_send import pair_of, transports
from served import served
from stand_in import NAME, SECONDS_PER_BATCH, SECONDS_PER_IMAGE, write_stand_in

REJECTED = ("429", "503", "RESOURCE_EXHAUSTED", "UNAVAILABLE")
GOODPUT, REJECTION_MS, RECOVERY_S = 0.9, 20.0, 2.0
_RECOVERY_WINDOW_S = 6.0


def row(name: str, outcome: Outcome) -> str:
    """One line of the table."""
    codes = "; ".join(
        f"{code}: {latency.count} in p50 {latency.p50:.1f}, p99 {latency.p99:.1f}, at worst {latency.worst:.1f} ms"
        for code, latency in outcome.codes.items()
    )
    return f"| {name} | {outcome.throughput:.1f} | {codes} | {outcome.client_cpu_s / outcome.seconds:.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--capacity-seconds", type=float, default=8.0)
    parser.add_argument("--factor", type=float, default=4.0)
    parser.add_argument("--queue-size", type=int, default=32)
    parser.add_argument("--max-wait-ms", type=float, default=0.0)
    parser.add_argument("--transport", default="REST multipart")
    options = parser.parse_args()
    pair = pair_of()
    way = next(way for way in transports(pair, NAME) if way.name == options.transport)
    print(describe_run(pair, *sys.argv[1:]))
    server_options = ["--max-batch", MAX_BATCH, "--max-batch-pixels", MAX_BATCH * pair.height * pair.width]
    server_options += ["--queue-size", options.queue_size, "--max-wait-ms", options.max_wait_ms]
    server_options += ["--decode-isolation", "process"]  # as beside an accelerator
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with served(write_stand_in(folder / "artifact"), *server_options, script=STAND_IN_SERVER) as server:
            port = server.port(way.protocol)

            def capacity() -> Outcome:
                clients, seconds = options.queue_size, options.capacity_seconds
                return run_load(way.load(server.host, port, folder, clients=clients, seconds=seconds))

            def poisson(rate: float, seconds: float, warm_up_s: float) -> Outcome:
                return start_load(
                    way.load(server.host, port, folder, rate=rate, seconds=seconds, warm_up_s=warm_up_s)
                ).outcome()

            before = capacity()
            memory = resident_bytes(server.pid)
            overload = poisson(options.factor * before.throughput, options.seconds, 2.0)
            recovery = poisson(0.3 * before.throughput, _RECOVERY_WINDOW_S, 0.0)
            grown = resident_bytes(server.pid) / memory
            after = capacity()
    print("| load | successes/s | responses | generator's cores |\n|---|---|---|---|")
    print(row(f"capacity before, {options.queue_size} clients", before))
    print(row(f"{options.factor:g} x capacity, {options.seconds:g} s", overload))
    print(row("0.3 x capacity, at once after it", recovery))
    print(row("capacity after", after))
    carried = (before.throughput + after.throughput) / 2
    batch_ms = 1000 * (SECONDS_PER_BATCH + SECONDS_PER_IMAGE * MAX_BATCH)
    bound_ms = options.max_wait_ms + 2 * batch_ms + 1000 * options.queue_size / carried
    rejections = [latency for code, latency in overload.codes.items() if code in REJECTED]
    others = sum(count for code, count in overload.failures.items() if code not in REJECTED)
    print()
    print(verdict("goodput over capacity", overload.throughput / carried, GOODPUT))
    if rejections:
        worst = max(latency.p99 for latency in rejections)
        print(verdict("p99 of rejections", worst, REJECTION_MS, at_most=True, unit=" ms"))
    if overload.succeeded:
        print(verdict("p99 of what was accepted", overload.codes["200"].p99, bound_ms, at_most=True, unit=" ms"))
    print(verdict("neither served nor rejected", others, 0, at_most=True, unit=""))
    print(
        verdict("last failure after the overload", recovery.last_failure_s or 0.0, RECOVERY_S, at_most=True, unit=" s")
    )
    print(f"- resident memory after it: {grown:.2f} x before")


if __name__ == "__main__":
    main()
