"""Whether memory stays flat over many requests of mixed sizes.

    python benchmarks/service/soak.py [--requests 20000] [--model] [--clients 8]

The stand-in serves frames from 64x64 to 640x480, over HTTP and gRPC in turn; `--model` serves the bundled model with
frames small enough to finish. Resident memory is read twice a second. The first tenth may grow: pools fill, arenas are
made. After it no median of a tenth may differ from the first by more than 5 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from figures import describe_run, median
from load import run_load
from overhead import MAX_BATCH, STAND_IN_SERVER
from process_figures import resident_bytes
from requests_to_send import grpc_segment, load_of, multipart, pair_of
from served import served
from stand_in import write_stand_in

from geminifusion_runtime.bundled import artifact_path

SIZES = ((64, 64), (96, 128), (120, 160), (240, 320), (360, 480), (480, 640))
MODEL_SIZES = ((64, 64), (96, 96), (96, 128), (64, 128))
TOLERANCE = 0.05
_TENTHS = 10


def tenths(samples: list[tuple[int, int]]) -> list[float]:
    """The median memory of each tenth of the requests, from `(requests before, bytes)`."""
    total = samples[-1][0] + 1
    groups: list[list[int]] = [[] for _ in range(_TENTHS)]
    for requests, size in samples:
        groups[min(_TENTHS - 1, requests * _TENTHS // total)].append(size)
    return [median(group) for group in groups if group]


class Memory:
    """Reads a process's memory twice a second."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,))

    def __enter__(self) -> Memory:
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()

    def _watch(self, pid: int) -> None:
        while not self._stop.wait(0.5):
            self.samples.append((len(self.samples), resident_bytes(pid)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--portions", type=int, default=40, help="turns in which they are sent")
    parser.add_argument("--model", action="store_true", help="the bundled model instead of the stand-in")
    parser.add_argument("--decode-isolation", default="thread", help="see geminifusion serve")
    options = parser.parse_args()
    sizes = MODEL_SIZES if options.model else SIZES
    print(describe_run("sizes " + " ".join(f"{width}x{height}" for height, width in sizes), *sys.argv[1:]))
    pairs = [pair_of(*size) for size in sizes]
    succeeded, failures = 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        artifact = artifact_path() if options.model else write_stand_in(folder / "artifact")
        batch = [] if options.model else ["--max-batch-pixels", MAX_BATCH * 480 * 640]
        serving = ["--queue-size", 64, "--decode-isolation", options.decode_isolation]
        script = None if options.model else STAND_IN_SERVER
        start = time.perf_counter()
        with served(artifact, *batch, *serving, script=script) as server, Memory(server.pid) as memory:
            for portion in range(options.portions):
                ways = [(grpc_segment if portion % 2 else multipart)(pair) for pair in pairs]
                load = load_of(
                    ways,
                    server.host,
                    server.grpc_port if portion % 2 else server.http_port,
                    folder,
                    clients=options.clients,
                    num_requests=options.requests // options.portions,
                    warm_up_s=0.0,
                    seconds=3600.0,
                )
                outcome = run_load(load)
                succeeded += outcome.succeeded
                failures += sum(outcome.failures.values())
        seconds = time.perf_counter() - start
    found = tenths(memory.samples)
    print(f"{succeeded} succeeded, {failures} failed, in {seconds:.0f} s\n")
    print("| tenth | " + " | ".join(str(index + 1) for index in range(len(found))) + " |")
    print("|---" * (1 + len(found)) + "|")
    print("| resident MB | " + " | ".join(f"{size / 1e6:.0f}" for size in found) + " |\n")
    steady = found[1:]
    worst = max(abs(size / steady[0] - 1) for size in steady)
    print(f"- largest change after the first tenth: {worst:.1%} of at most {TOLERANCE:.0%} asked: ", end="")
    print("met" if worst <= TOLERANCE and not failures else "missed")


if __name__ == "__main__":
    main()
