"""The command `geminifusion train` of 3-D object detection."""

from __future__ import annotations

from pathlib import Path

import click

from geminifusion_model.run_options import (
    RECIPE_HELP,
    chosen_config,
    config_file,
    echo_config,
    echo_outcome,
    needed_to_run,
    run_options,
    trained,
    training_processes,
)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    callback=needed_to_run,
    help="A folder in KITTI's layout.  [required]",
)
@click.option("--split", default="train", show_default=True, help="The list of frames in ImageSets to train on.")
@click.option("--recipe", default="streets-pillars-b0", show_default=True, help=RECIPE_HELP)
@run_options(example="network.fusion=sum")
def train(
    data: Path | None,
    split: str,
    recipe: str,
    out: Path | None,
    config: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    print_config: bool,
    device: str,
    wandb: str | None,
    workers: int,
    threads: int | None,
) -> None:
    """Train a 3-D object detector; writes checkpoints, the resumable state and metrics to --out.

    Several processes train one network together: torchrun --nproc-per-node 2 -m geminifusion train ...
    """
    from geminifusion_model.detection.data.kitti import KittiFrames
    from geminifusion_model.detection.recipes import RECIPES
    from geminifusion_model.detection.run import DetectionRun
    from geminifusion_model.detection.training_config import DetectionTrainingConfig
    from geminifusion_model.training.recipes.lookup import find_recipe
    from geminifusion_model.training.starts import check_start_paths

    chosen = chosen_config(
        DetectionTrainingConfig,
        config_file(config, out, resume=resume),
        lambda _: find_recipe(RECIPES, recipe).model_dump(mode="json"),
        settings,
    )
    if print_config:
        echo_config(chosen)
        return
    assert data is not None
    assert out is not None
    if not resume:
        check_start_paths(chosen.start_from, chosen.imagenet)
    with training_processes(device, threads) as processes:
        frames = KittiFrames(data, split)
        if processes.is_first:
            click.echo(f"{len(frames)} frames; reading them once for the run's record …")
        run = DetectionRun(
            chosen,
            frames,
            out,
            resume=resume,
            processes=processes,
            data_directory=data,
            wandb_project=wandb,
            workers=workers,
        )
        found = trained(run)
    held_out = None
    if found is not None:
        by_class = ", ".join(f"{name} {value:.2f}" for name, value in found.by_class.items())
        held_out = f"{found.frames} held-out training frames: all-point 3-D AP, moderate: {by_class}"
    echo_outcome(run, held_out)
