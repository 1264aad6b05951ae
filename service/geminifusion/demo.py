"""The demo: a real server, a real photograph, and what the network sees in it."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.bundled import DemoPair

from .client import Client
from .server_process import open_port, running_server

_HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """Input and output of a demo."""

    artifact: Path
    pair: DemoPair
    output: Path
    http_port: int
    grpc_port: int
    once: bool

    @property
    def depth(self) -> Path | None:
        """The pair's depth, if the artifact's model takes it."""
        takes_it = any(modality.name == "depth" for modality in read_metadata(self.artifact).modalities)
        return self.pair.depth if takes_it else None


def run_demo(plan: DemoPlan) -> None:
    """Serve the artifact, segment the pair through the server, print and write the result, keep serving.

    With `once` it stops after the result; else on Ctrl-C, SIGTERM, or when the server ends by itself.

    Raises:
        ServerStartError: the server did not start; the message ends with its log.
        ClientError: the server started but did not respond as it should.
    """
    plan.output.mkdir(parents=True, exist_ok=True)
    http_port = _announced_port("HTTP", plan.http_port)
    grpc_port = _announced_port("gRPC", plan.grpc_port)
    click.echo(f"starting a server on {plan.artifact.name} …")
    with (
        _end_like_interrupt(),
        running_server(
            ["--artifact", plan.artifact, "--host", _HOST],
            plan.output / "server.log",
            http_port=http_port,
            grpc_port=grpc_port,
        ) as server,
        Client(server.http_url) as client,
    ):
        _show_pair(client, plan)
        peak_mib = server.peak_memory_mib()
        if peak_mib is not None:
            click.echo(f"peak memory of the server: {peak_mib:.0f} MiB")
        if plan.once:
            return
        click.echo(f"\nserving {server.http_url} (documentation at {server.http_url}/docs) and {server.grpc_url}; try:")
        images = f"-F rgb=@{shlex.quote(str(plan.pair.rgb))}"
        if plan.depth is not None:
            images += f" -F depth=@{shlex.quote(str(plan.depth))}"
        click.echo(f"  curl {images} '{server.http_url}/v1/segment?format=overlay' -o overlay.png")
        try:
            click.echo("Ctrl-C stops it")
            server.wait()
        except KeyboardInterrupt:
            click.echo("\nstopping")
        else:
            click.echo(f"the server ended; its log is {server.log}", err=True)


def _show_pair(client: Client, plan: DemoPlan) -> None:
    result = client.segment(plan.pair.rgb, plan.depth, depth_scale=plan.pair.depth_scale)
    height, width = result.labels.shape
    total_ms = sum(result.timings_ms.values())
    click.echo(f"\n{plan.pair.title} ({width}x{height}), by {result.model} in {total_ms:.0f} ms:\n")
    click.echo(result.table())
    for warning in result.warnings:
        click.echo(f"warning: {warning}")
    mask = result.save(plan.output / "mask.png")
    overlay = result.save_overlay(plan.output / "overlay.png")
    click.echo(f"\nwrote {mask} and {overlay}")


def _announced_port(name: str, wanted: int) -> int:
    port = open_port(wanted, _HOST)
    if wanted not in (0, port):
        click.echo(f"port {wanted} is taken; {name} takes {port}")
    return port


@contextmanager
def _end_like_interrupt() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal unwind the stack, so that the server is stopped as well.

    A shell starts background jobs with Ctrl-C ignored, which Python would keep; `nohup`'s wish to survive a closed
    terminal is kept.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
