"""The commands `geminifusion train` and `geminifusion evaluate`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

_DATA = click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with train.txt, test.txt, rgb/, depth/ and label13/ (see model/README.md).",
)
_THREADS = click.option("--threads", default=None, type=int, help="CPU threads; all this process may use by default.")


@click.command()
@_DATA
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The run's directory.")
@click.option("--recipe", default="nyuv2-b0-from-scratch", show_default=True, help="A named configuration.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file instead of a recipe.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override one setting, e.g. network.encoder=mit_b1.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out exactly where it stopped.")
@click.option("--print-config", is_flag=True, help="Print the configuration as YAML and stop.")
@_THREADS
def train(
    data: Path,
    out: Path,
    recipe: str,
    config: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    print_config: bool,
    threads: int | None,
) -> None:
    """Train a network; writes checkpoints, the resumable state and metrics to --out."""
    import torch
    import yaml

    from geminifusion_model.data.nyuv2 import NYUv2
    from geminifusion_model.training.recipes import RECIPES, ConfigError, TrainingConfig
    from geminifusion_model.training.run import TrainingRun

    overrides: dict[str, object] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting!r} has no '='; write NAME=VALUE")
        overrides[name] = yaml.safe_load(value)
    if config is not None:
        chosen = TrainingConfig.from_yaml(config, overrides)
    elif resume and (out / "config.yaml").is_file():
        chosen = TrainingConfig.from_yaml(out / "config.yaml", overrides)
    elif recipe in RECIPES:
        chosen = TrainingConfig.checked(RECIPES[recipe]().model_dump(mode="json"), overrides)
    else:
        raise ConfigError(f"there is no recipe {recipe!r}; the recipes are {', '.join(RECIPES)}")
    if print_config:
        click.echo(chosen.to_yaml(), nl=False)
        return
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    run = TrainingRun(chosen, NYUv2(data, "train", chosen.network.num_classes), out, resume=resume)
    try:
        scores = run.train()
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped at step {run.state.step}; continue with --resume") from None
    if scores is not None:
        click.echo(f"{scores.frames} held-out training frames: mIoU {scores.miou:.2f}")
    click.echo(f"weights are in {out / 'final'}" + (f" and {out / 'best'}" if len(run.holdout) else ""))


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_DATA
@click.option("--split", default="test", show_default=True, help="Which list of frames.")
@click.option(
    "--protocol",
    type=click.Choice(["original-nyu-single-scale", "native-labels"]),
    default="original-nyu-single-scale",
    show_default=True,
    help="How logits reach the labels' size: cubic, as the original; or bilinear, as the exported graph.",
)
@click.option("--limit", default=None, type=int, help="Only the first frames.")
@click.option("--record", is_flag=True, help="Write the scores into the checkpoint, to be carried to the artifact.")
@_THREADS
def evaluate(
    checkpoint: Path,
    data: Path,
    split: str,
    protocol: str,
    limit: int | None,
    record: bool,
    threads: int | None,
) -> None:
    """Score CHECKPOINT on labelled frames, single scale, no flip, at the labels' full resolution."""
    import torch
    from rich.progress import Progress

    from geminifusion_model.data.nyuv2 import NYUv2
    from geminifusion_model.evaluation.evaluate import evaluate as score
    from geminifusion_model.network import GeminiFusion
    from geminifusion_model.weights.checkpoint import read_info, write_checkpoint

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    net = GeminiFusion.from_pretrained(checkpoint)
    dataset = NYUv2(data, split, net.config.num_classes, limit)
    info = read_info(checkpoint)
    with Progress() as progress:
        bar = progress.add_task("evaluating", total=len(dataset))
        scores = score(
            net,
            dataset,
            protocol=protocol,
            task=info.task,
            on_frame=lambda done: progress.update(bar, completed=done),
        )
    for name, iou in zip(dataset.task.class_names, scores.iou, strict=True):
        click.echo(f"{name:<18}{iou:7.2f}")
    click.echo(
        f"{scores.frames} frames, {split}, protocol {scores.protocol}: mIoU {scores.miou:.2f}, "
        f"pixel accuracy {scores.pixel_accuracy:.2f}, mean accuracy {scores.mean_accuracy:.2f}"
    )
    if record:
        summary = {
            "data": f"{dataset.task.data}, {split}, {scores.frames} frames",
            "protocol": scores.protocol,
            "miou": round(scores.miou, 3),
            "pixel_accuracy": round(scores.pixel_accuracy, 3),
            "mean_accuracy": round(scores.mean_accuracy, 3),
        }
        write_checkpoint(net, checkpoint, task=info.task, training={**info.training, "test": summary})
        click.echo(f"recorded in {checkpoint}: {json.dumps(summary)}")
