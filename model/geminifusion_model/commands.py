"""The commands `geminifusion train` and `geminifusion evaluate`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from geminifusion_model.data.depth_encodings import DEPTH_ENCODINGS
from geminifusion_model.evaluation.protocols import PROTOCOLS

_DATA = click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The data set's folder.",
)
_DATASET = click.option(
    "--dataset",
    type=click.Choice(["nyuv2", "nyuv2-lists", "sunrgbd", "deliver", "folder"]),
    default="nyuv2",
    show_default=True,
    help="The layout of --data: one of the known data sets, or your own folder with a dataset.yaml.",
)
_THREADS = click.option("--threads", default=None, type=int, help="CPU threads; all this process may use by default.")


@click.command()
@_DATA
@_DATASET
@click.option(
    "--depth-encoding",
    type=click.Choice(DEPTH_ENCODINGS),
    help="How the network gets depth; as the data set says by default. Only metric, inverse and log can be served.",
)
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
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What computes; auto takes CUDA if there is a device.",
)
@click.option("--wandb", metavar="PROJECT", help="Log to this project at Weights & Biases as well.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Threads that read ahead.")
@_THREADS
def train(
    data: Path,
    dataset: str,
    depth_encoding: str | None,
    out: Path,
    recipe: str,
    config: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    print_config: bool,
    device: str,
    wandb: str | None,
    workers: int,
    threads: int | None,
) -> None:
    """Train a network; writes checkpoints, the resumable state and metrics to --out.

    Several processes train one network together: torchrun --nproc-per-node 2 -m geminifusion train ...
    """
    import torch

    from geminifusion_model.data.registry import open_dataset
    from geminifusion_model.training.allocator import keep_freed_memory
    from geminifusion_model.training.config import TrainingConfig
    from geminifusion_model.training.distributed import joined_processes
    from geminifusion_model.training.recipes import named_recipe
    from geminifusion_model.training.run import TrainingRun
    from geminifusion_model.training.starts import check_starts

    overrides = read_overrides(settings)
    if config is not None:
        chosen = TrainingConfig.from_yaml(config, overrides)
    elif resume and (out / "config.yaml").is_file():
        chosen = TrainingConfig.from_yaml(out / "config.yaml", overrides)
    else:
        chosen = TrainingConfig.checked(named_recipe(recipe).model_dump(mode="json"), overrides)
    if print_config:
        click.echo(chosen.to_yaml(), nl=False)
        return
    if not resume:
        check_starts(chosen)
    keep_freed_memory()
    network = chosen.network
    with joined_processes(device, os.environ) as processes:
        cores = len(os.sched_getaffinity(0)) // processes.on_this_machine
        torch.set_num_threads(threads or max(cores, 1))
        frames = open_dataset(
            dataset,
            data,
            "train",
            num_classes=network.num_classes,
            modalities=network.modalities,
            encoding=depth_encoding,
        )
        if processes.is_first:
            click.echo(f"{len(frames)} frames; reading them once for the run's record …")
        run = TrainingRun(
            chosen,
            frames,
            out,
            resume=resume,
            processes=processes,
            data_directory=data,
            wandb_project=wandb,
            workers=workers,
        )
        try:
            scores = run.train()
        except KeyboardInterrupt:
            if not processes.is_first:
                raise click.exceptions.Exit(1) from None
            kept = "nothing is saved yet" if run.saved_step is None else "continue with --resume"
            raise click.ClickException(f"stopped at step {run.saved_step or 0}; {kept}") from None
    if not processes.is_first:
        return
    if scores is not None:
        click.echo(f"{scores.frames} held-out training frames: mIoU {scores.miou:.2f}")
    click.echo(f"weights are in {out / 'final'}" + (f" and {out / 'best'}" if len(run.holdout) else ""))


def read_overrides(settings: tuple[str, ...]) -> dict[str, object]:
    """What `--set NAME=VALUE` says, values read as YAML."""
    import yaml

    from geminifusion_model.training.config import ConfigError

    overrides: dict[str, object] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting!r} has no '='; write NAME=VALUE")
        try:
            overrides[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"--set {setting!r} is no YAML value ({reason}); quote it as YAML would") from None
    return overrides


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_DATA
@_DATASET
@click.option("--split", default="test", show_default=True, help="Which list of frames.")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    default="original-nyu-single-scale",
    show_default=True,
    help="How frames, labels and logits are resized and classes averaged (see model/README.md).",
)
@click.option("--details", is_flag=True, help="Also boundary F-score, mIoU by depth, calibration and intervals.")
@click.option("--robustness", is_flag=True, help="Also score with modalities missing, partly missing and noisy.")
@click.option(
    "--fit-temperature",
    is_flag=True,
    help="First fit a temperature on the frames training held out, and store it in the checkpoint.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write everything, with pictures, to one HTML file.",
)
@click.option("--pictures", default=6, show_default=True, help="Frames shown in the report.")
@click.option("--seed", default=0, show_default=True, help="Of the damage, the intervals and the temperature's pixels.")
@click.option("--limit", default=None, type=int, help="Only the first frames.")
@click.option("--record", is_flag=True, help="Write the scores into the checkpoint, to be carried to the artifact.")
@_THREADS
def evaluate(
    checkpoint: Path,
    data: Path,
    dataset: str,
    split: str,
    protocol: str,
    details: bool,
    robustness: bool,
    fit_temperature: bool,
    report: Path | None,
    pictures: int,
    seed: int,
    limit: int | None,
    record: bool,
    threads: int | None,
) -> None:
    """Score CHECKPOINT on labelled frames by a named protocol."""
    import torch

    from geminifusion_model.evaluation.session import EvaluationSession

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    session = EvaluationSession(
        checkpoint, data=data, dataset=dataset, split=split, protocol=protocol, limit=limit, seed=seed
    )
    session.run(details=details or report is not None, robustness=robustness, fit_temperature=fit_temperature)
    click.echo(session.to_text())
    if report is not None:
        session.report(pictures).write(report)
        click.echo(f"report written to {report}")
    if record:
        click.echo(f"recorded in {checkpoint}: {json.dumps(session.record())}")
