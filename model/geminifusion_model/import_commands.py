"""The commands `geminifusion import` and `geminifusion tasks`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from geminifusion_runtime.task_names import DETECTION

if TYPE_CHECKING:
    from geminifusion_model.weights.importing import DepthUnit


_Command = TypeVar("_Command", bound=Callable[..., object])


def _depth_unit(context: click.Context, option: click.Parameter, value: str | None) -> DepthUnit:
    if value is None or value == "none":
        return value  # type: ignore[return-value]  # "none" and None are what the type says
    try:
        unit = float(value)
    except ValueError:
        unit = 0.0
    if not 0.0 < unit < float("inf"):
        raise click.BadParameter(
            f"{value!r} is neither a positive number of metres nor none", ctx=context, param=option
        )
    return unit


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(","))


def import_options(*, required: bool) -> Callable[[_Command], _Command]:
    """The options that say what weights of others were trained for."""

    def decorate(command: _Command) -> _Command:
        for option in (
            click.option(
                "--modalities",
                metavar="rgb,NAME,…",
                callback=_names,
                help="Modalities the network was trained on, in its order; the task's by default.",
            ),
            click.option(
                "--metres-per-unit",
                metavar="METRES|none",
                callback=_depth_unit,
                help="Metres per stored unit of the depth files it was trained on, where a task leaves that open; "
                "none if clients are to post the stored numbers.",
            ),
            click.option(
                "--task",
                required=required,
                metavar="TASK",
                help="What the weights were trained for: a name that `geminifusion tasks` lists, or a YAML file.",
            ),
        ):
            command = option(command)
        return command

    return decorate


@click.command(name="import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("checkpoint", type=click.Path(path_type=Path))
@import_options(required=True)
def import_weights(
    source: Path,
    checkpoint: Path,
    task: str,
    metres_per_unit: DepthUnit,
    modalities: tuple[str, ...] | None,
) -> None:
    """Turn weights of others into a checkpoint, in the new directory CHECKPOINT.

    SOURCE is a file of GeminiFusion's authors, a SegFormer (a directory or file of Hugging Face transformers, or
    NVlabs' file), or a checkpoint that lacks a task. With --task object-detection-3d it is an MVX-Net of
    mmdetection3d, stock or by GeminiFusion's authors, trained on KITTI. No code in it is run.
    """
    if checkpoint.exists():
        raise click.UsageError(f"{checkpoint} exists; remove it or choose another directory")
    if task == DETECTION:
        if metres_per_unit is not None or modalities is not None:
            raise click.UsageError(f"--metres-per-unit and --modalities do not apply to {task}; leave them out")
        from geminifusion_model.detection.importing import import_detector

        detector = import_detector(source)
        click.echo(detector.to_table())
        detector.write(checkpoint)
        click.echo(f"wrote {checkpoint}")
        return
    from geminifusion_model.weights import importing

    imported = importing.import_weights(source, task, metres_per_unit=metres_per_unit, modalities=modalities)
    click.echo(imported.to_table())
    imported.write(checkpoint)
    click.echo(f"wrote {checkpoint}; export it with: geminifusion export {checkpoint} ARTIFACT")


@click.command()
@click.argument("name", required=False)
def tasks(name: str | None) -> None:
    """List the tasks that come with the package, or print the YAML file of NAME."""
    from geminifusion_model.data.task_files import describe_task, task_names, task_text

    if name is not None:
        click.echo(task_text(name), nl=False)
        return
    rows = [("name", "classes", "modalities", "input", "data")]
    for each in task_names():
        description = describe_task(each)
        encodings = [f"{m} ({stored.encoding})" for m, stored in description.modalities.items()]
        rows.append(
            (
                each,
                str(len(description.classes)),
                ", ".join(["rgb", *encodings]),
                description.input_policy.describe(),
                description.license,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
