"""The command `geminifusion evaluate` of 3-D object detection."""

from __future__ import annotations

from pathlib import Path

import click

from geminifusion_model.run_options import THREADS
from geminifusion_runtime import strict_json
from geminifusion_runtime.cpu_count import usable_cores

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("checkpoint", type=_FOLDER)
@click.option("--data", required=True, type=_FOLDER, help="A folder in KITTI's layout.")
@click.option("--split", default="val", show_default=True, help="The list of frames in ImageSets to score.")
@click.option("--limit", default=None, type=click.IntRange(min=1), help="Only the first frames.")
@click.option(
    "--found",
    type=_FOLDER,
    help="Score this folder of result files in KITTI's form, one a frame, instead of running the detector.",
)
@click.option("--against", type=_FOLDER, help="Another checkpoint, or folder of result files, to compare with.")
@click.option("--robustness", is_flag=True, help="Also score with a blank image, a turned camera, fewer beams and fog.")
@click.option("--no-bootstrap", is_flag=True, help="Leave out intervals and the paired comparison.")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), help="Write result files to this folder.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--record", is_flag=True, help="Write the scores into the checkpoint, to be carried to the artifact.")
@THREADS
def evaluate(
    checkpoint: Path,
    data: Path,
    split: str,
    limit: int | None,
    found: Path | None,
    against: Path | None,
    robustness: bool,
    no_bootstrap: bool,
    results: Path | None,
    seed: int,
    as_json: bool,
    record: bool,
    threads: int | None,
) -> None:
    """Score a 3-D object detector, or what it has found before, by KITTI's average precision.

    CHECKPOINT is a directory that `geminifusion train` wrote.
    """
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from geminifusion_model.detection.evaluation.evaluation import DetectionEvaluation
    from geminifusion_model.detection.evaluation.robustness import CHANGES

    torch.set_num_threads(threads or usable_cores())
    evaluation = DetectionEvaluation(
        checkpoint if found is None else found, data=data, split=split, limit=limit, against=against, seed=seed
    )
    if record:
        evaluation.require_detector()
    runs = 1 + (against is not None) + robustness * len(CHANGES)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("detecting", total=runs * len(evaluation.frames))
        evaluation.run(
            robustness=robustness,
            bootstrap=not no_bootstrap,
            results=results,
            on_frame=lambda _: progress.advance(bar),
        )
    click.echo(strict_json.dumps(evaluation.to_record(), indent=2) if as_json else evaluation.to_text())
    if record:
        click.echo(f"recorded in {checkpoint}: {strict_json.dumps(evaluation.record())}", err=as_json)
