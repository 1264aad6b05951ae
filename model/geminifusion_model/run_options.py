"""Options of the commands that start or continue a run in a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from geminifusion_model.training.loop.step_run import StepRun

_Scores = TypeVar("_Scores")

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
