"""The commands `geminifusion export` and `geminifusion verify`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--name", default=None, help="Model name clients ask for; the destination's name if not given.")
@click.option("--version", default="1", show_default=True, help="Model version clients may ask for.")
@click.option(
    "--weights",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How weights are stored in the file; they are computed with in float32 either way.",
)
@click.option(
    "--max-pixels",
    default=1280 * 960,
    show_default=True,
    help="Larger images are reduced to fit before the network.",
)
def export(checkpoint: Path, destination: Path, name: str | None, version: str, weights: str, max_pixels: int) -> None:
    """Turn CHECKPOINT into a verified artifact in the new directory DESTINATION."""
    from geminifusion_export.build import ExportOptions, build_artifact
    from geminifusion_export.report import verification_table

    click.echo(f"exporting {checkpoint} (tracing takes about a minute) …")
    metadata = build_artifact(
        checkpoint,
        destination,
        ExportOptions(
            name=name or destination.name,
            version=version,
            weights="float16" if weights == "float16" else "float32",
            max_pixels=max_pixels,
        ),
    )
    click.echo(verification_table(metadata.verification))
    click.echo(
        f"wrote {destination} ({metadata.reference}); serve it with: geminifusion serve --artifact {destination}"
    )


@click.command()
@click.argument("artifact", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare with the torch network of this checkpoint; without it, with the recorded report only.",
)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="NYUv2 folder.")
@click.option("--frames", default=50, show_default=True, help="Test frames of --data to compare labels on.")
def verify(artifact: Path, checkpoint: Path | None, data: Path | None, frames: int) -> None:
    """Check ARTIFACT's checksums and graph on this machine, and against torch if a checkpoint is given."""
    from geminifusion_export.recheck import recheck_artifact

    click.echo(recheck_artifact(artifact, checkpoint, data, frames))
