"""The demo: a real server, a real photograph, and what the network sees in it."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import click

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.bundled import DemoPair
from geminifusion_runtime.task_names import SEGMENTATION

from .client import Client
from .errors import InvalidInputError
from .server_process import open_port, running_server

_HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """Input and output of a demo."""

    artifact: Path
    pair: DemoPair
    inputs: Mapping[str, Path]  # by modality; without any, the pair
    output: Path
    http_port: int
    grpc_port: int
    once: bool

    @cached_property
    def images(self) -> Mapping[str, Path]:
        """The images to send, by modality: those that were given, or of the pair what the artifact's model takes.

        Raises:
            InvalidInputError: the model does not segment, or the pair has no image of a modality that it cannot do
                without.
        """
        metadata = read_metadata(self.artifact)
        if metadata.task != SEGMENTATION:
            raise InvalidInputError(
                f"{metadata.reference} is for {metadata.task}, and the demo shows segmentation; try `geminifusion "
                f"predict`, or `geminifusion serve --artifact {self.artifact}` with a browser"
            )
        if self.inputs:
            return self.inputs
        bundled = {"rgb": ("intensity", self.pair.rgb), "depth": ("metre", self.pair.depth)}
        images = {
            spec.name: bundled[spec.name][1]
            for spec in metadata.modalities
            if spec.name in bundled and bundled[spec.name][0] == spec.unit
        }
        missing = [spec.name for spec in metadata.modalities if spec.name not in images and not spec.optional]
        if missing or not images:
            names = [spec.name for spec in metadata.modalities]
            raise InvalidInputError(
                f"{metadata.reference} takes {', '.join(names)}, and the bundled photographs have color and depth in "
                f"metres; give images of your own: {' '.join(f'--input {name}=FILE' for name in names)}"
            )
        return images

    @property
    def options(self) -> dict[str, Any]:
        """Options of the request that go with the images."""
        return {"depth_scale": self.pair.depth_scale} if self.images.get("depth") == self.pair.depth else {}


def run_demo(plan: DemoPlan) -> None:
    """Serve the artifact, segment the pair through the server, print and write the result, keep serving.

    With `once` it stops after the result; else on Ctrl-C, SIGTERM, or when the server ends by itself.

    Raises:
        ServerStartError: the server did not start; the message ends with its log.
        ClientError: the server started but did not respond as it should.
    """
    sent = plan.images
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
        click.echo(f"\nserving {server.http_url} (open it in a browser) and {server.grpc_url}; try:")
        images = " ".join(f"-F {name}=@{shlex.quote(str(path))}" for name, path in sent.items())
        click.echo(f"  curl {images} '{server.http_url}/v1/segment?format=overlay' -o overlay.png")
        try:
            click.echo("Ctrl-C stops it")
            server.wait()
        except KeyboardInterrupt:
            click.echo("\nstopping")
        else:
            click.echo(f"the server ended; its log is {server.log}", err=True)


def _show_pair(client: Client, plan: DemoPlan) -> None:
    result = client.segment(**plan.images, **plan.options)
    height, width = result.labels.shape
    total_ms = sum(result.timings_ms.values())
    title = ", ".join(path.name for path in plan.inputs.values()) or plan.pair.title
    click.echo(f"\n{title} ({width}x{height}), by {result.model} in {total_ms:.0f} ms:\n")
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
