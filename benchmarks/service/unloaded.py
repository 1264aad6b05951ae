"""What the server adds to a single request when nothing else is going on.

    python benchmarks/service/unloaded.py [--rounds 5 --seconds 5] [--model]

One client against the sequential loop of the same decode, run and encode in one process, alternating. The difference of
their medians is what transport, admission, batching and hand-overs between threads take; decoding two images side by
side works against it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bare import run_bare
from figures import describe_run, median
from load import run_load
from overhead import STAND_IN_SERVER, server_options, verdict
from requests_to_send import pair_of, transports
from served import served
from stand_in import NAME, write_stand_in

import geminifusion_runtime.bundled

ADDED_MS = 5.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--model", action="store_true", help="the bundled model instead of the stand-in")
    options = parser.parse_args()
    pair = pair_of()
    artifact = geminifusion_runtime.bundled.artifact_path() if options.model else None
    print(describe_run(pair, *sys.argv[1:]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stand_in = None if options.model else write_stand_in(folder / "artifact")
        ways = transports(pair, NAME)
        ways = ways[:1] if options.model else ways
        loop_ms: list[float] = []
        served_ms: dict[str, list[float]] = {way.name: [] for way in ways}
        script = None if options.model else STAND_IN_SERVER
        with served(artifact or stand_in, *server_options(), script=script) as server:
            for _ in range(options.rounds):
                bare = run_bare(artifact=artifact, stand_in=stand_in, loop="sequential", seconds=options.seconds)
                loop_ms.append(bare.p50_ms)
                for way in ways:
                    port = server.port(way.protocol)
                    outcome = run_load(way.load(server.host, port, folder, clients=1, seconds=options.seconds))
                    served_ms[way.name].append(outcome.codes["200"].p50)
    print(f"Decode, compute and encode in one process: {median(loop_ms):.2f} ms\n")
    for name, values in served_ms.items():
        added = median([value - loop for value, loop in zip(values, loop_ms, strict=True)])
        print(verdict(f"{name}: {median(values):.2f} ms, added", added, ADDED_MS, at_most=True, unit=" ms"))


if __name__ == "__main__":
    main()
