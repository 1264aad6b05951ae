"""The sub-commands predict, models and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_LOCAL_OPTIONS = {"depth_scale", "depth_invalid"}  # of those of a request

_artifact_option = click.option("--artifact", type=_DIRECTORY, help="Artifact directory [default: the bundled model].")
_url_option = click.option("--url", help="Ask this server instead: http://host:port or grpc://host:port.")


class _PredictCommand(click.Command):
    """Has the options of a request as well, whose definition is imported only when it is needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """All parameters of the command, `--help` last."""
        from .predict_options import request_options

        *own, help_option = super().get_params(ctx)
        return [*own, *request_options(), help_option]


@click.command(cls=_PredictCommand)
@click.argument("rgb", type=_FILE)
@click.argument("depth", type=_FILE, required=False)
@_artifact_option
@_url_option
@click.option(
    "--format",
    "formats",
    type=click.Choice(["palette", "overlay", "png", "npz", "json"]),
    multiple=True,
    default=("palette", "overlay"),
    show_default=True,
    help="What to write; may be given several times.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Directory to write to [default: the current one].",
)
def predict(
    rgb: Path,
    depth: Path | None,
    artifact: Path | None,
    url: str | None,
    formats: tuple[str, ...],
    output: Path,
    **options: Any,  # noqa: ANN401 - options of the request
) -> None:
    """Segment one RGB-D pair and write the mask.

    RGB is a PNG, JPEG or WebP, DEPTH a 16-bit PNG, TIFF or npy of the same size; leave DEPTH out for a model
    that sees the RGB alone, or can do without depth. Runs in this process, or on a server with --url. Prints
    the classes found and the files written.
    """
    _one_source(artifact, url)
    given = {name: value for name, value in options.items() if value not in (None, False, ())}
    if not url and (remote := given.keys() - _LOCAL_OPTIONS):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(remote))
        raise click.UsageError(f"{names}: only for a server; give --url as well")
    from .prediction import segment_files, write_formats

    result = segment_files(rgb, depth, artifact=artifact, url=url, options=given)
    click.echo(result.table())
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    for path in write_formats(result, formats, output, stem=rgb.stem):
        click.echo(f"wrote {path}")


@click.command()
@_artifact_option
@_url_option
def models(artifact: Path | None, url: str | None) -> None:
    """Describe the models of a server, or an artifact directory."""
    _one_source(artifact, url)
    from .descriptions import describe_artifact, describe_served

    if url:
        from .client import Client

        with Client(url) as client:
            click.echo("\n\n".join(describe_served(model) for model in client.models()))
        return
    click.echo(describe_artifact(artifact or _bundled_artifact()))


@click.command()
@_artifact_option
@click.option("--pair", "pair_name", default="livingroom", show_default=True, help="Which bundled photograph.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Directory for the mask, the overlay and the server's log.",
)
@click.option("--http-port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8001, show_default=True)
@click.option("--once", is_flag=True, help="Stop after the first result.")
def demo(artifact: Path | None, pair_name: str, output: Path, http_port: int, grpc_port: int, once: bool) -> None:
    """Start a server, segment a real photograph with it, show what it found.

    Serves on this machine only and keeps serving until Ctrl-C. Where a port is taken, a free one is used.
    """
    from geminifusion_runtime.bundled import demo_pairs

    from .demo import DemoPlan, run_demo

    pairs = demo_pairs()
    if pair_name not in pairs:
        raise click.BadParameter(f"{pair_name!r} is none of {', '.join(pairs)}", param_hint="--pair")
    run_demo(
        DemoPlan(
            artifact=artifact or _bundled_artifact(),
            pair=pairs[pair_name],
            output=output,
            http_port=http_port,
            grpc_port=grpc_port,
            once=once,
        )
    )


def _one_source(artifact: Path | None, url: str | None) -> None:
    if artifact and url:
        raise click.UsageError("--artifact runs in this process and --url on a server; give one of them")


def _bundled_artifact() -> Path:
    from geminifusion_runtime.bundled import artifact_path

    return artifact_path()
