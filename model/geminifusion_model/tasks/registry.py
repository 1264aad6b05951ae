"""The tasks a network can be trained for, each with the same named parts.

What works for all tasks takes a task's parts from this table instead of asking which task it is; where nothing names a
task, it is segmentation, whose parts are this package's own modules, while each other task is a package within it.
Parts are named as `module:attribute` and imported when they are first asked for, so reading the table costs nothing.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from geminifusion_runtime.task_names import DETECTION, SEGMENTATION, TRANSLATION

if TYPE_CHECKING:
    import click
    from torch import nn

    from geminifusion_model.training.run_config import RunConfig

_T = TypeVar("_T")

Recipes = Mapping[str, Callable[[], "RunConfig"]]


@dataclass(frozen=True)
class Part(Generic[_T]):
    """An object by the name of its module and its attributes there, `package.module:attribute`."""

    place: str

    def load(self) -> _T:
        """Import the module and return the object.

        Raises:
            ModuleNotFoundError: an optional package it needs is not installed.
        """
        module, _, attributes = self.place.partition(":")
        found: _T = functools.reduce(getattr, attributes.split("."), importlib.import_module(module))  # type: ignore[assignment]
        return found


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """The parts of one task.

    Args:
        name: as checkpoints, configurations and artifacts spell it.
        recipes: configurations of training runs by name, each made by a call.
        train: `geminifusion train` for a recipe, configuration or run of this task.
        evaluate: `geminifusion evaluate` for a checkpoint of this task.
        network: from a checkpoint's directory, the network in eval mode.
        export: from a checkpoint's directory, an artifact in another; none where there is no artifact of the task.
    """

    name: str
    recipes: Part[Recipes]
    train: Part[click.Command]
    evaluate: Part[click.Command]
    network: Part[Callable[[Path], nn.Module]]
    export: Part[Callable[..., Any]] | None = None


_KINDS = (
    TaskKind(
        name=SEGMENTATION,
        recipes=Part("geminifusion_model.training.recipes.named:RECIPES"),
        train=Part("geminifusion_model.segmentation_commands:train"),
        evaluate=Part("geminifusion_model.segmentation_commands:evaluate"),
        network=Part("geminifusion_model.network:GeminiFusion.from_pretrained"),
        export=Part("geminifusion_export.build:build_artifact"),
    ),
    TaskKind(
        name=TRANSLATION,
        recipes=Part("geminifusion_model.translation.recipes:RECIPES"),
        train=Part("geminifusion_model.translation.train_command:train"),
        evaluate=Part("geminifusion_model.translation.evaluate_command:evaluate"),
        network=Part("geminifusion_model.translation.generator:Generator.from_pretrained"),
        export=Part("geminifusion_export.translation.build:build_translator"),
    ),
    TaskKind(
        name=DETECTION,
        recipes=Part("geminifusion_model.detection.recipes:RECIPES"),
        train=Part("geminifusion_model.detection.train_command:train"),
        evaluate=Part("geminifusion_model.detection.evaluate_command:evaluate"),
        network=Part("geminifusion_model.detection.detector:Detector.from_pretrained"),
        export=Part("geminifusion_export.detection.build:build_detector"),
    ),
)

TASKS: Mapping[str, TaskKind] = {kind.name: kind for kind in _KINDS}


def task_of_recipe(name: str) -> TaskKind:
    """The task whose recipe this is.

    Raises:
        ConfigError: no task has a recipe of this name; the message has the nearest ones.
    """
    from geminifusion_model.training.recipes.lookup import unknown_recipe

    known: list[str] = []
    for kind in TASKS.values():
        recipes = kind.recipes.load()
        if name in recipes:
            return kind
        known += recipes
    raise unknown_recipe(name, known)


def task_of_config(path: Path) -> TaskKind:
    """The task of a run's configuration file: its `kind`, or segmentation if it has none.

    Raises:
        ConfigError: the file cannot be read, or names no task.
    """
    from geminifusion_model.training.errors import ConfigError
    from geminifusion_model.training.run_config import read_config

    return _named(read_config(path).get("kind", SEGMENTATION), path, ConfigError)


def task_of_checkpoint(directory: Path) -> TaskKind:
    """The task of a checkpoint: the `kind` in its `config.json`, or segmentation if it has none.

    Raises:
        CheckpointError: the directory is no checkpoint, or its kind is none of `TASKS`.
    """
    from geminifusion_model.checkpoint import CONFIG_NAME, CheckpointError, read_description

    return _named(read_description(directory).get("kind", SEGMENTATION), directory / CONFIG_NAME, CheckpointError)


def _named(name: object, path: Path, error: type[ValueError]) -> TaskKind:
    if name not in TASKS:
        raise error(f"{path} is of kind {name!r}; this version of geminifusion knows {', '.join(TASKS)}")
    return TASKS[str(name)]
