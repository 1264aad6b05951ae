"""The command `geminifusion train` of 3-D object detection."""

from __future__ import annotations

import os
from pathlib import Path

import click

from geminifusion_model.run_options import RECIPE_HELP, config_file, needed_to_run, run_options, trained
from geminifusion_runtime.cpu_count import usable_cores


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
    import torch

    from geminifusion_model.detection.data.kitti import KittiFrames
    from geminifusion_model.detection.recipes import RECIPES
    from geminifusion_model.detection.run import DetectionRun
    from geminifusion_model.detection.training_config import DetectionTrainingConfig
    from geminifusion_model.training.commented_yaml import commented_yaml
    from geminifusion_model.training.loop.distributed import joined_processes
    from geminifusion_model.training.recipes.lookup import find_recipe
    from geminifusion_model.training.run_config import read_overrides
    from geminifusion_model.training.starts import check_start_paths
    from geminifusion_runtime.allocator import keep_freed_memory

    overrides = read_overrides(settings)
    file = config_file(config, out, resume=resume)
    if file is not None:
        chosen = DetectionTrainingConfig.from_yaml(file, overrides)
    else:
        chosen = DetectionTrainingConfig.checked(find_recipe(RECIPES, recipe).model_dump(mode="json"), overrides)
    if print_config:
        click.echo(commented_yaml(chosen), nl=False)
        return
    assert data is not None
    assert out is not None
    if not resume:
        check_start_paths(chosen.start_from, chosen.imagenet)
    keep_freed_memory()
    with joined_processes(device, os.environ) as processes:
        torch.set_num_threads(threads or max(usable_cores() // processes.on_this_machine, 1))
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
    if not processes.is_first:
        return
    if found is not None:
        by_class = ", ".join(f"{name} {value:.2f}" for name, value in found.by_class.items())
        click.echo(f"{found.frames} held-out training frames: all-point 3-D AP, moderate: {by_class}")
    click.echo(f"weights are in {out / 'final'}" + (f" and {out / 'best'}" if len(run.holdout) else ""))
