"""The commands `geminifusion train` and `geminifusion evaluate`, which every task has its own form of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from geminifusion_model.run_options import config_file
from geminifusion_model.tasks.command import TaskCommand
from geminifusion_model.tasks.registry import (
    TASKS,
    TaskKind,
    task_of_checkpoint,
    task_of_config,
    task_of_recipe,
)
from geminifusion_runtime.task_names import SEGMENTATION


def _task_of_run(options: dict[str, Any], _: Sequence[str]) -> TaskKind:
    """That of the configuration, of the run to resume, or of the recipe."""
    out, config, recipe = options["out"], options["config"], options["recipe"]
    file = config_file(config and Path(config), out and Path(out), resume=options["resume"])
    if file is not None and file.is_file():
        return task_of_config(file)
    return TASKS[SEGMENTATION] if recipe is None else task_of_recipe(recipe)


def _task_of_source(_: dict[str, Any], words: Sequence[str]) -> TaskKind:
    """That of the first checkpoint among the words; segmentation's command takes artifacts and servers as well.

    Raises:
        click.UsageError: an artifact for another task comes first.
    """
    folders = [Path(word) for word in words if Path(word).is_dir()]
    if folders:
        from geminifusion_model.checkpoint import CONFIG_NAME
        from geminifusion_runtime.artifact import METADATA_NAME, read_metadata

        for folder in folders:
            if (folder / CONFIG_NAME).is_file():
                return task_of_checkpoint(folder)
            if (folder / METADATA_NAME).is_file() and (found := read_metadata(folder)).task != SEGMENTATION:
                raise click.UsageError(
                    f"{found.reference} in {folder} is an artifact for {found.task}, of which only checkpoints are "
                    "scored; give the one it was exported from"
                )
    return TASKS[SEGMENTATION]


train = TaskCommand(
    help="Train a network; writes checkpoints, the resumable state and metrics to --out.",
    command_of=lambda kind: kind.train.load(),
    task_of=_task_of_run,
    peeked=(
        click.Option(["--recipe"]),
        click.Option(["--config"]),
        click.Option(["--out"]),
        click.Option(["--resume"], is_flag=True),
    ),
)

evaluate = TaskCommand(
    help="Score what predicts on frames whose truth is known.",
    command_of=lambda kind: kind.evaluate.load(),
    task_of=_task_of_source,
)
