"""Options of the commands that start or continue a run in a directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geminifusion_runtime.cpu_count import usable_cores

if TYPE_CHECKING:
    from geminifusion_model.training.loop.distributed import Processes
    from geminifusion_model.training.loop.step_run import StepRun
    from geminifusion_model.training.run_config import RunConfig

_Scores = TypeVar("_Scores")
_Config = TypeVar("_Config", bound="RunConfig")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def needed_to_run(context: click.Context, option: click.Parameter, value: object) -> object:
    """Require an option unless `--print-config`, which is read before it, asks for the settings alone."""
    if not value and not context.params["print_config"]:
        raise click.MissingParameter(ctx=context, param=option)
    return value


RECIPE_HELP = (
    "A named configuration. It decides the task too, and with it which options there are: `geminifusion train --recipe "
    "NAME --help`."
)
THREADS = click.option("--threads", default=None, type=int, help="CPU threads; as many as usable cores by default.")


def run_options(*, example: str) -> Decorator:
    """`--out`, `--config`, `--set`, `--resume`, `--print-config`, `--device`, `--wandb`, `--workers`, `--threads`.

    Args:
        example: of a setting that `--set` overrides.
    """
    options = (
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            callback=needed_to_run,
            help="The run's directory.  [required]",
        ),
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A YAML file instead of a recipe.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help=f"Override one setting, e.g. {example}; --print-config explains all of them.",
        ),
        click.option("--resume", is_flag=True, help="Continue the run in --out exactly where it stopped."),
        click.option(
            "--print-config",
            is_flag=True,
            is_eager=True,
            help="Print the configuration as YAML, every setting explained, and stop.",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Device to train on; auto takes CUDA if there is a device.",
        ),
        click.option("--wandb", metavar="PROJECT", help="Log to this project at Weights & Biases as well."),
        click.option(
            "--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Threads reading images ahead."
        ),
        THREADS,
    )

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


def config_file(config: Path | None, out: Path | None, *, resume: bool) -> Path | None:
    """The file that a run's settings are read from: the one given, else that of the run to resume; else a recipe."""
    if config is None and resume and out is not None and (out / "config.yaml").is_file():
        return out / "config.yaml"
    return config


def chosen_config(
    kind: type[_Config],
    file: Path | None,
    of_recipe: Callable[[Mapping[str, object]], dict[str, object]],
    settings: tuple[str, ...],
) -> _Config:
    """A run's configuration: from a file or a recipe, with the settings given as `--set NAME=VALUE`.

    Args:
        file: as `config_file` found it.
        of_recipe: from those settings to the values of the recipe, asked if there is no file.

    Raises:
        ConfigError: a setting cannot be read, there is no such recipe, or the configuration does not validate.
    """
    from geminifusion_model.training.run_config import read_overrides

    overrides = read_overrides(settings)
    if file is not None:
        return kind.from_yaml(file, overrides)
    return kind.checked(of_recipe(overrides), overrides)


def echo_config(config: RunConfig) -> None:
    """Print a configuration as `--print-config` does."""
    from geminifusion_model.training.commented_yaml import commented_yaml

    click.echo(commented_yaml(config), nl=False)


@contextlib.contextmanager
def training_processes(device: str, threads: int | None) -> Iterator[Processes]:
    """This process among those that `torchrun` started, with its device and its share of the cores.

    Args:
        device, threads: as the options have them.

    Raises:
        TrainingError: see `joined_processes`.
    """
    import torch

    from geminifusion_model.training.loop.distributed import joined_processes
    from geminifusion_runtime.allocator import keep_freed_memory

    keep_freed_memory()
    with joined_processes(device, os.environ) as processes:
        torch.set_num_threads(threads or max(usable_cores() // processes.on_this_machine, 1))
        yield processes


def echo_outcome(run: StepRun[Any, Any, Any], held_out: str | None) -> None:
    """Say, in the first process, what a finished run found and where its weights are.

    Args:
        held_out: the scores in words; None if none were measured.
    """
    if not run.processes.is_first:
        return
    if held_out is not None:
        click.echo(held_out)
    best = f" and {run.directory / 'best'}" if run.num_held_out else ""
    click.echo(f"weights are in {run.directory / 'final'}{best}")


def trained(run: StepRun[Any, Any, _Scores]) -> _Scores | None:
    """What `run.train` returns; an interruption ends the command with where to go on from.

    Raises:
        TrainingError: see `StepRun.train`.
    """
    try:
        return run.train()
    except KeyboardInterrupt:
        if not run.processes.is_first:
            raise click.exceptions.Exit(1) from None
        kept = "nothing is saved yet" if run.saved_step is None else "continue with --resume"
        raise click.ClickException(f"stopped at step {run.saved_step or 0}; {kept}") from None
