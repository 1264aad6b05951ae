"""The command `geminifusion train` of image translation."""

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
from geminifusion_model.translation.layouts import LAYOUTS


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    callback=needed_to_run,
    help="The data set's folder.  [required]",
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
@click.option("--recipe", default="rooms-depth-gen-b0", show_default=True, help=RECIPE_HELP)
@run_options(example="network.fusion=none")
def train(
    data: Path | None,
    dataset: str | None,
    metres_per_unit: float | None,
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
    """Train a translator of images; writes checkpoints, the resumable state and metrics to --out.

    Several processes train one network together: torchrun --nproc-per-node 2 -m geminifusion train ...
    """
    from geminifusion_model.training.recipes.lookup import find_recipe
    from geminifusion_model.training.starts import check_start_paths
    from geminifusion_model.translation.dataset import TranslationDataset, layout_of, open_views
    from geminifusion_model.translation.recipes import RECIPES
    from geminifusion_model.translation.run import TranslationRun
    from geminifusion_model.translation.training_config import TranslationTrainingConfig

    chosen = chosen_config(
        TranslationTrainingConfig,
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
        check_start_paths(chosen.start_from)
    network = chosen.network
    with training_processes(device, threads) as processes:
        views = open_views(
            layout_of(data, dataset),
            data,
            "train",
            (*network.inputs, network.target),
            metres_per_unit=metres_per_unit,
        )
        samples = TranslationDataset(
            views,
            inputs=network.inputs,
            target=network.target,
            size=chosen.size,
            augmentation=chosen.augmentation,
        )
        if processes.is_first:
            click.echo(f"{len(samples)} views; reading them once for the run's record …")
        run = TranslationRun(
            chosen,
            samples,
            out,
            resume=resume,
            processes=processes,
            data_directory=data,
            wandb_project=wandb,
            workers=workers,
        )
        errors = trained(run)
    held_out = None
    if errors is not None:
        held_out = f"{errors.views} held-out training views: mean absolute difference {errors.error:.4f} in [-1, 1]"
    echo_outcome(run, held_out)
