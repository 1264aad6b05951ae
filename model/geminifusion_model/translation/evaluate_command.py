"""The command `geminifusion evaluate` of image translation."""

from __future__ import annotations

import re
from pathlib import Path

import click

from geminifusion_model.run_options import THREADS
from geminifusion_model.translation.layouts import LAYOUTS
from geminifusion_runtime import strict_json
from geminifusion_runtime.cpu_count import usable_cores

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


def _width_and_height(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Height and width of WIDTHxHEIGHT."""
    if value is None:
        return None
    found = _SIZE.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"came {value!r}; expected width and height in pixels, such as 256x192")
    return int(found[2]), int(found[1])


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The data set's folder.",
)
@click.option(
    "--dataset",
    type=click.Choice(LAYOUTS),
    help="The layout of --data: aligned images in folders, Taskonomy, or RGB-D frames, of which the other images are "
    "computed.  [default: what its files look like]",
)
@click.option(
    "--metres-per-unit",
    type=click.FloatRange(min=0, min_open=True),
    help="Metres per stored unit of depth, for nyuv2-lists and sunrgbd, whose files do not say.",
)
@click.option("--split", help="The list of views to score.  [default: test, or a folder's last one]")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkpoint for the same target, to be compared on the same views.",
)
@click.option(
    "--size",
    metavar="WIDTHxHEIGHT",
    callback=_width_and_height,
    help="Pixels at which images are compared, multiples of 32.  [default: those of the training]",
)
@click.option(
    "--distances",
    is_flag=True,
    help="Also Fréchet and kernel distance of EfficientNet-Lite2 features, for a target of photographs.",
)
@click.option("--fid", is_flag=True, help="Also FID and KID, for a target of photographs; needs geminifusion[fid].")
@click.option(
    "--fid-weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The Inception weights for --fid, where they cannot be fetched.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the intervals.")
@click.option("--limit", default=None, type=click.IntRange(min=1), help="Only the first views.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
@click.option("--record", is_flag=True, help="Write the scores into the checkpoint, to be carried to the artifact.")
@THREADS
def evaluate(
    checkpoint: Path,
    data: Path,
    dataset: str | None,
    metres_per_unit: float | None,
    split: str | None,
    against: Path | None,
    size: tuple[int, int] | None,
    distances: bool,
    fid: bool,
    fid_weights: Path | None,
    seed: int,
    limit: int | None,
    as_json: bool,
    record: bool,
    threads: int | None,
) -> None:
    """Score a translator of images on views whose target is known.

    Says of every input whether it is computed from the target, which makes a task easy.
    """
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from geminifusion_model.translation.evaluation import TranslationEvaluation
    from geminifusion_model.translation.frechet import inception_features, lite_features
    from geminifusion_model.translation.tables import evaluation_text

    torch.set_num_threads(threads or usable_cores())
    evaluation = TranslationEvaluation(
        checkpoint,
        data=data,
        dataset=dataset,
        split=split,
        metres_per_unit=metres_per_unit,
        limit=limit,
        against=against,
        size=size,
        seed=seed,
    )
    with_inception = fid or fid_weights is not None
    if distances or with_inception:
        evaluation.require_photographs()
    spaces = [lite_features()] if distances else []
    if with_inception:
        spaces.append(inception_features(fid_weights))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("evaluating", total=len(evaluation))
        evaluation.run(spaces=spaces, on_view=lambda done: progress.update(bar, completed=done))
    if as_json:
        click.echo(strict_json.dumps(evaluation.to_record(), indent=2))
    else:
        click.echo(evaluation_text(evaluation))
    if record:
        click.echo(f"recorded in {checkpoint}: {strict_json.dumps(evaluation.record())}", err=as_json)
