"""All attacks of `attacks.py` at once on one server, with good clients beside them.

    python benchmarks/service/attack_mix.py [--seconds 60 | --minutes 30] [--group transport|parsers|all] [OPTION …]

The server is `geminifusion serve` with the bundled model and with OPTIONs of its own; without them it has as many
decoding processes as docker-compose.yml gives it. Attacks repeat until the time is over; good clients ask over HTTP and
gRPC a few times a second, as `Client` does, and try again where they are told to. Printed are what each attack was able
to send, the good clients' outcomes with the median and the 99th percentile, and the most memory that the server and its
processes had together, as a container counts it, against `mem_limit` in docker-compose.yml.

Exits with 1 where that is exceeded, a good client was answered wrongly or not at all, more than a fiftieth of their
requests were rejected until their time was over, or the server does not end within its time. With --minutes it is a
soak: memory is printed for each minute, and it must stay flat. It is flat where its floor, which a tenth of the samples
are below, rises by no more than 5 % of itself over the second half of the time, by the line through the floors of
fifteen windows.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from attacks import PARSERS, TRANSPORT, Attack
from figures import describe_run, median
from memory_over_time import MOST_GROWTH, MemoryOverTime
from process_figures import charged_bytes
from requests_to_send import pair_of
from served import Served, served

from geminifusion import Client
from geminifusion.errors import ClientError

_COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
_UNITS = {"m": 2**20, "g": 2**30}
_MIB = 2**20
_MOST_REFUSED = 0.02
_PAUSE_S = 0.2  # between two requests of a good client


def memory_limit() -> int:
    """`mem_limit` of docker-compose.yml in bytes."""
    found = re.search(r"mem_limit: ([0-9]+)([mg])", _COMPOSE.read_text())
    assert found
    return int(found[1]) * _UNITS[found[2]]


def decode_workers() -> str:
    """The number of decoding processes in docker-compose.yml."""
    found = re.search(r"GEMINIFUSION_DECODE_WORKERS: ([0-9]+)", _COMPOSE.read_text())
    assert found
    return found[1]


class GoodClients:
    """Clients over both transports that ask until they are stopped."""

    def __init__(self, server: Served, count: int) -> None:
        self.seconds: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.asked = 0
        self._pair = pair_of(240, 320)
        urls = (f"http://{server.host}:{server.http_port}", f"grpc://{server.host}:{server.grpc_port}")
        self._expected = self._labels(urls[0])
        self._counting = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(urls[index % 2],)) for index in range(count)]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the last responses."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _labels(self, url: str) -> bytes:
        with Client(url, timeout=60, retries=10) as client:
            return client.segment(self._pair.rgb, self._pair.depth).labels.tobytes()

    def _ask(self, url: str) -> None:
        with Client(url, timeout=60, retries=30) as client:
            while not self._stop.wait(_PAUSE_S):
                begin = time.monotonic()
                with self._counting:
                    self.asked += 1
                try:
                    result = client.segment(self._pair.rgb, self._pair.depth)
                except ClientError as error:
                    self.outcomes[error.code] += 1
                    print(f"{url}, after {time.monotonic() - begin:.1f} s: {error}", flush=True)
                    continue
                self.seconds.append(time.monotonic() - begin)
                self.outcomes["ok" if result.labels.tobytes() == self._expected else "wrong"] += 1


class Attackers:
    """A thread for each attack, which repeats it until it is stopped."""

    def __init__(self, server: Served, attacks: tuple[Attack, ...]) -> None:
        self.sent: Counter[str] = Counter()
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(attack,), daemon=True) for attack in attacks]

    def start(self) -> None:
        """Begin all of them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the last of them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def _repeat(self, attack: Attack) -> None:
        while not self._stop.wait(0.1):
            with contextlib.suppress(Exception):  # whatever a rejected attack raises
                attack(self._server, self._stop)
            self.sent[attack.__name__] += 1


def main() -> None:
    """Attack, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=0.0, help="a soak of so many minutes")
    parser.add_argument("--group", choices=("transport", "parsers", "all"), default="all")
    parser.add_argument("--clients", type=int, default=4)
    options, of_server = parser.parse_known_args()
    attacks = {"transport": TRANSPORT, "parsers": PARSERS, "all": TRANSPORT + PARSERS}[options.group]
    seconds = 60 * options.minutes or options.seconds
    print(describe_run(*sys.argv[1:]))
    with served(None, "--access-log", "false", "--decode-workers", decode_workers(), *of_server) as server:
        good, bad = GoodClients(server, options.clients), Attackers(server, attacks)
        before = charged_bytes(server.pid)
        good.start()
        with MemoryOverTime(server.pid) as memory:
            bad.start()
            time.sleep(seconds)
        bad.stop()
        good.stop()
        after = charged_bytes(server.pid)
        begin = time.monotonic()
    ended_s = time.monotonic() - begin
    print("\n".join(f"{name:24} {count:6} times" for name, count in bad.sent.items()))
    ranked = sorted(good.seconds) or [float("nan")]
    p99 = ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))]
    right, answered = good.outcomes["ok"], good.outcomes.total()
    print(
        f"good clients: {good.asked} asked, {right} answered rightly, {answered - right} failed, "
        f"{good.asked - answered} lost; {dict(good.outcomes)}, median {median(ranked):.3f} s, p99 {p99:.3f} s"
    )
    limit = memory_limit()
    print(
        f"memory: {before / _MIB:.0f} MiB before, at most {memory.most / _MIB:.0f} MiB, {after / _MIB:.0f} MiB after; "
        f"docker-compose.yml allows {limit / _MIB:.0f} MiB"
    )
    print(f"SIGTERM ended the server after {ended_s:.1f} s")
    refused = good.outcomes["queue_full"]
    failed = memory.most > limit or right + refused != good.asked or refused > _MOST_REFUSED * good.asked
    if options.minutes:
        failed |= not _is_flat(memory)
    sys.exit(failed)


def _is_flat(memory: MemoryOverTime) -> bool:
    print("\n| minute | floor, MiB | median | most |\n|---|---|---|---|")
    for number, minute in enumerate(memory.minutes, 1):
        print(f"| {number} | {minute.floor / _MIB:.0f} | {minute.median / _MIB:.0f} | {minute.most / _MIB:.0f} |")
    slope, growth = memory.slope()
    is_flat = growth <= MOST_GROWTH
    print(
        f"\nthe floor rises by {slope / _MIB:+.1f} MiB a minute in the second half, {growth:+.1%} of it in that time; "
        f"at most {MOST_GROWTH:.0%} asked: {'flat' if is_flat else 'not flat'}"
    )
    return is_flat


if __name__ == "__main__":
    main()
