"""Where the server's CPU time goes: by thread, and within the event loop by function.

All requests share the event loop. cProfile slows it down, so its shares are meaningful and its seconds are not; the
time of each kind of thread is the kernel's.

`profile` runs this file as a script: the stand-in's server, which at its end writes its profile to the first argument.
"""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from load import run_load
from process_figures import thread_cpu_seconds
from requests_to_send import Transport
from served import served
from stand_in import serve_stand_in

_FUNCTIONS = 30


def profile(ways: Sequence[Transport], artifact: Path, options: Sequence[object], seconds: float, folder: Path) -> str:
    """Markdown: one section for each transport, with a server of its own."""
    sections = []
    for way in ways:
        found = folder / "profile.txt"
        for traced in (False, True):
            script = [str(found), "traced" if traced else "plain"]
            with served(artifact, *options, script=Path(__file__), script_arguments=script) as server:
                os.kill(server.pid, signal.SIGUSR1)
                port = server.port(way.protocol)
                outcome = run_load(way.load(server.host, port, folder, seconds=seconds, watched_pid=server.pid))
            if traced:
                head = f"The event loop, traced ({outcome.throughput:.0f}/s):"
                sections.append(f"\n{head}\n\n```\n{found.read_text()}```")
            else:
                sections.append(
                    f"\n### {way.name}: {outcome.throughput:.1f}/s, {outcome.server_cpu_ms:.2f} CPU ms per response\n\n"
                    f"{found.read_text()}"
                )
    return "\n".join(sections)


def _by_thread(seconds: dict[str, float]) -> str:
    total = sum(seconds.values())
    lines = ["| threads | CPU s | share |", "|---|---|---|"]
    lines += [
        f"| {kind} | {spent:.2f} | {spent / total:.1%} |"
        for kind, spent in sorted(seconds.items(), key=lambda item: -item[1])
        if spent
    ]
    return "\n".join(lines) + "\n"


class Threads:
    """The CPU seconds of each kind of thread since the last `restart`.

    Read again and again, because threads cannot be asked once they have ended.
    """

    def __init__(self) -> None:
        self._read: dict[str, float] = {}
        self._before: dict[str, float] = {}
        threading.Thread(target=self._watch, daemon=True, name="profiler").start()

    def restart(self) -> None:
        """Forget what was spent until now."""
        self._before = dict(self._read)

    @property
    def spent(self) -> dict[str, float]:
        """CPU seconds by kind of thread."""
        return {kind: seconds - self._before.get(kind, 0.0) for kind, seconds in self._read.items()}

    def _watch(self) -> None:
        while True:
            names = {thread.native_id: thread.name for thread in threading.enumerate()}
            read: dict[str, float] = {}
            for thread_id, seconds in thread_cpu_seconds().items():
                name = names.get(thread_id, "native (gRPC and others)")
                kind = "event loop" if name == "MainThread" else name.rstrip("0123456789_-")
                read[kind] = read.get(kind, 0.0) + seconds
            self._read |= read
            time.sleep(0.1)


def _serve(destination: Path, kind: str, arguments: list[str]) -> None:
    threads, tracer = Threads(), cProfile.Profile(time.thread_time)

    def begin(*_: object) -> None:
        """From the signal on: the start of a server is another story."""
        threads.restart()
        if kind == "traced":
            tracer.enable()

    signal.signal(signal.SIGUSR1, begin)
    try:
        serve_stand_in(arguments)
    finally:
        tracer.disable()
        if kind == "traced":
            text = io.StringIO()
            statistics = pstats.Stats(tracer, stream=text).strip_dirs()
            statistics.sort_stats("tottime").print_stats(_FUNCTIONS)
            statistics.sort_stats("cumulative").print_stats(_FUNCTIONS)
            destination.write_text(text.getvalue())
        else:
            destination.write_text(_by_thread(threads.spent))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
