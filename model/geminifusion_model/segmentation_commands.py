"""The commands `geminifusion train` and `geminifusion evaluate` of semantic segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from geminifusion_model.data.dataset_names import DATASETS
from geminifusion_model.data.depth_encodings import DEPTH_ENCODINGS
from geminifusion_model.evaluation.protocols import PROTOCOLS
from geminifusion_model.run_options import (
    RECIPE_HELP,
    THREADS,
    chosen_config,
    config_file,
    echo_config,
    echo_outcome,
    needed_to_run,
    run_options,
    trained,
    training_processes,
)
from geminifusion_runtime import strict_json
from geminifusion_runtime.cpu_count import usable_cores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geminifusion_model.evaluation.served import Connect

_DATA = click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The data set's folder.",
)
_DATASET = click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="The layout of --data: one of the known data sets, or your own folder with a dataset.yaml.  "
    "[default: folder if it holds a dataset.yaml, else nyuv2]",
)
_METRES_PER_UNIT = click.option(
    "--metres-per-unit",
    type=click.FloatRange(min=0, min_open=True),
    help="Metres per stored unit of depth, for nyuv2-lists and sunrgbd, whose files do not say.",
)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    callback=needed_to_run,
    help="The data set's folder.  [required]",
)
@_DATASET
@click.option(
    "--depth-encoding",
    type=click.Choice(DEPTH_ENCODINGS),
    help="Encoding of depth, the data set's own by default.",
)
@_METRES_PER_UNIT
@click.option(
    "--further-data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder with a dataset.yaml whose frames join every batch (--set further_per_batch=2), such as one of "
    "`geminifusion pseudo-label`.",
)
@click.option("--recipe", default="nyuv2-b0-from-scratch", show_default=True, help=RECIPE_HELP)
@run_options(example="network.encoder=mit_b1")
def train(
    data: Path | None,
    dataset: str | None,
    depth_encoding: str | None,
    metres_per_unit: float | None,
    further_data: Path | None,
    out: Path | None,
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
    from geminifusion_model.data.registry import is_own_data, kind_of, open_dataset
    from geminifusion_model.training.config import TrainingConfig
    from geminifusion_model.training.loop.initialization import check_starts
    from geminifusion_model.training.loop.run import TrainingRun
    from geminifusion_model.training.recipes.named import named_recipe
    from geminifusion_model.training.recipes.own_data import fitted_to

    notes: list[str] = []

    def of_recipe(overrides: Mapping[str, object]) -> dict[str, object]:
        values = named_recipe(recipe).model_dump(mode="json")
        if data is not None and is_own_data(data, dataset):
            values, note = fitted_to(values, data, overrides)
            notes.append(note)
        return values

    chosen = chosen_config(TrainingConfig, config_file(config, out, resume=resume), of_recipe, settings)
    if print_config:
        echo_config(chosen)
        return
    assert data is not None
    assert out is not None
    if not resume:
        check_starts(chosen)
    kind = kind_of(data, dataset)
    network = chosen.network
    with training_processes(device, threads) as processes:
        frames = open_dataset(
            kind,
            data,
            "train",
            num_classes=network.num_classes,
            modalities=network.modalities,
            encoding=depth_encoding,
            metres_per_unit=metres_per_unit,
        )
        further = None
        if further_data is not None:
            further = open_dataset("folder", further_data, "train", modalities=network.modalities)
        if processes.is_first:
            for note in notes:
                click.echo(note)
            and_further = "" if further is None else f" and {len(further)} further ones"
            click.echo(f"{len(frames)} frames{and_further}; reading them once for the run's record …")
        run = TrainingRun(
            chosen,
            frames,
            out,
            further=further,
            resume=resume,
            processes=processes,
            data_directory=data,
            wandb_project=wandb,
            workers=workers,
        )
        scores = trained(run)
    held_out = None if scores is None else f"{scores.frames} held-out training frames: mIoU {scores.miou:.2f}"
    echo_outcome(run, held_out)


def _existing_unless_address(context: click.Context, option: click.Parameter, value: str) -> Path | str:
    """An address as it is, anything else as the path of a folder that exists."""
    if "://" in value:
        return value
    click.Path(exists=True, file_okay=False).convert(value, option, context)
    return Path(value)


@click.command()
@click.argument("source", metavar="SOURCE", callback=_existing_unless_address)
@_DATA
@_DATASET
@_METRES_PER_UNIT
@click.option("--split", help="The list of frames to score.  [default: test, or a folder's last one]")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    help="How frames, labels and logits are resized and classes averaged (see model/README.md).  "
    "[default: the task's of a checkpoint, or original-nyu-single-scale; the first that a served graph can follow]",
)
@click.option("--without", multiple=True, metavar="MODALITY", help="Leave this modality out; may be repeated.")
@click.option("--backend", default="auto", show_default=True, help="Of an artifact: as `geminifusion serve` takes it.")
@click.option("--model", metavar="NAME[@VERSION]", help="Of a server with several models: which one.")
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
    help="Write everything, with images, to one HTML file.",
)
@click.option("--report-frames", default=6, show_default=True, help="Frames shown in the report.")
@click.option("--seed", default=0, show_default=True, help="Seed of corruptions, intervals and temperature pixels.")
@click.option("--limit", default=None, type=int, help="Only the first frames.")
@click.option("--record", is_flag=True, help="Write the scores into the checkpoint, to be carried to the artifact.")
@THREADS
@click.pass_obj
def evaluate(
    connect: Connect | None,
    source: Path | str,
    data: Path,
    dataset: str | None,
    metres_per_unit: float | None,
    split: str | None,
    protocol: str | None,
    without: tuple[str, ...],
    backend: str,
    model: str | None,
    details: bool,
    robustness: bool,
    fit_temperature: bool,
    report: Path | None,
    report_frames: int,
    seed: int,
    limit: int | None,
    record: bool,
    threads: int | None,
) -> None:
    """Score what predicts on labeled frames by a named protocol.

    SOURCE is a checkpoint, an artifact, or the address of a server (http://HOST:PORT, grpc://HOST:PORT), whose model is
    sent the frames as a camera gives them.
    """
    import torch

    from geminifusion_model.evaluation.evaluation_run import EvaluationRun

    torch.set_num_threads(threads or usable_cores())
    evaluation = EvaluationRun(
        source,
        data=data,
        dataset=dataset,
        metres_per_unit=metres_per_unit,
        split=split,
        protocol=protocol,
        limit=limit,
        seed=seed,
        without=without,
        backend=backend,
        threads=threads,
        model=model,
        connect=connect,
    )
    evaluation.run(details=details or report is not None, robustness=robustness, fit_temperature=fit_temperature)
    click.echo(evaluation.to_text())
    if report is not None:
        evaluation.report(report_frames).write(report)
        click.echo(f"report written to {report}")
    if record:
        click.echo(f"recorded in {source}: {strict_json.dumps(evaluation.record())}")
