"""The same stand-in behind other servers, with the same codecs, in the same run.

    python benchmarks/service/compare_servers.py --cache DIRECTORY [--rounds 3 --seconds 6] [--only "Ray Serve" …]

Each of the other servers (`peers/`) gets its own environment below `--cache`, made once with the releases named here;
one that cannot be installed or started is skipped, and the output says why. They serve one instance, with batches of
eight after five milliseconds if they batch at all, and decode in threads if they can. In a round every server is
started, driven with 8 and 32 clients and stopped. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from figures import describe_run, median
from load import Load, Outcome, run_load
from overhead import STAND_IN_SERVER, middle_latency, server_options
from process_figures import family, resident_bytes
from requests_to_send import Transport, multipart, pair_of
from served import served
from stand_in import write_stand_in

OURS = "geminifusion"
REPOSITORY = Path(__file__).resolve().parents[2]
_READY_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server, what to install for it, and the script that starts it."""

    name: str
    requirements: tuple[str, ...]
    script: str


PEERS = (
    Peer(name="FastAPI, no batching", requirements=("python-multipart==0.0.20",), script="plain_fastapi.py"),
    Peer(name="LitServe", requirements=("litserve==0.2.19", "python-multipart"), script="litserve_server.py"),
    Peer(name="BentoML", requirements=("bentoml==1.4.39", "python-multipart"), script="bentoml_server.py"),
    Peer(name="Ray Serve", requirements=("ray[serve]==2.60.0", "python-multipart"), script="ray_serve_server.py"),
)


class UnavailableError(RuntimeError):
    """A peer cannot be installed or started here; the message says why."""


def environment_of(peer: Peer, cache: Path) -> Path:
    """The interpreter of a peer's environment, which is made on first use.

    Raises:
        UnavailableError: it cannot be installed.
    """
    folder = cache / Path(peer.script).stem
    interpreter, done = folder / "bin" / "python", folder / "complete"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(interpreter), "-m", "pip", "install", "--quiet", *peer.requirements]
        installed = subprocess.run(
            [*command, "--editable", f"{REPOSITORY}[service]"], capture_output=True, text=True, check=False
        )
        if installed.returncode:
            raise UnavailableError(f"pip: {installed.stderr.strip().splitlines()[-1]}")
        done.touch()
    return interpreter


@contextmanager
def running(peer: Peer, interpreter: Path, request: Transport, folder: Path) -> Iterator[tuple[int, int]]:
    """A peer that responds; its port and process.

    Raises:
        UnavailableError: it does not respond.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).parent / "peers" / peer.script
    log = folder / f"{script.stem}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(interpreter), str(script), str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(script.parent)},
        )
    try:
        _wait(process, port, request, folder, log)
        yield port, process.pid
    finally:
        _stop(process)


def _wait(process: subprocess.Popen[bytes], port: int, request: Transport, folder: Path, log: Path) -> None:
    until = time.monotonic() + _READY_S
    codes: dict[str, int] = {}
    while time.monotonic() < until and process.poll() is None:
        outcome = run_load(request.load("127.0.0.1", port, folder, clients=1, seconds=1.0, warm_up_s=0.0))
        if outcome.succeeded:
            return
        codes = outcome.failures
        time.sleep(1)
    words = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise UnavailableError(f"it did not respond (codes {codes}, last line of its log {words})")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and all that it started."""
    members = family(process.pid)
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for member in members:
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    process.wait()


def drive(port: int, pid: int, request: Transport, clients: int, options: argparse.Namespace, folder: Path) -> Outcome:
    """One cell of the table."""
    load: Load = request.load(
        "127.0.0.1", port, folder, clients=clients, seconds=options.seconds, watched_pid=pid, warm_up_s=1.5
    )
    return run_load(load)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="where the peers' environments are kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a number of clients in a round")
    parser.add_argument("--clients", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--only", nargs="+", default=[peer.name for peer in PEERS])
    options = parser.parse_args()
    pair = pair_of()
    ours = multipart(pair)
    theirs = Transport(
        name="multipart of a peer",
        protocol="http",
        rpc="",
        request=ours.request.replace(b"POST /v1/segment ", b"POST /segment ", 1),
    )
    print(describe_run(pair, *sys.argv[1:]), flush=True)
    found: dict[tuple[str, int], list[Outcome]] = defaultdict(list)
    memory: dict[str, list[int]] = defaultdict(list)
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        artifact = write_stand_in(folder / "artifact")
        for _ in range(options.rounds):
            with served(artifact, *server_options(), script=STAND_IN_SERVER) as server:
                for clients in options.clients:
                    found[OURS, clients].append(drive(server.http_port, server.pid, ours, clients, options, folder))
                memory[OURS].append(resident_bytes(server.pid))
            for peer in PEERS:
                if peer.name not in options.only or peer.name in skipped:
                    continue
                try:
                    interpreter = environment_of(peer, options.cache)
                    with running(peer, interpreter, theirs, folder) as (port, pid):
                        for clients in options.clients:
                            found[peer.name, clients].append(drive(port, pid, theirs, clients, options, folder))
                        memory[peer.name].append(resident_bytes(pid))
                except UnavailableError as error:
                    skipped[peer.name] = str(error)
    print("| server | clients | pairs/s | p50 ms | p99 ms | CPU ms per response | resident MB | failures |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, clients), outcomes in found.items():
        good = [outcome for outcome in outcomes if outcome.succeeded] or outcomes
        latencies = [outcome.codes["200"] for outcome in good if outcome.succeeded]
        p50, p99 = middle_latency(latencies)
        failures = sum(sum(outcome.failures.values()) for outcome in outcomes)
        throughput = median([outcome.throughput for outcome in outcomes])
        cpu, resident = median([outcome.server_cpu_ms for outcome in good]), median(memory[name]) / 1e6
        print(
            f"| {name} | {clients} | {throughput:.1f} | {p50:.0f} | {p99:.0f} "
            f"| {cpu:.1f} | {resident:.0f} | {failures} |"
        )
    for name, reason in skipped.items():
        print(f"\n{name} was skipped: {reason}")


if __name__ == "__main__":
    main()
