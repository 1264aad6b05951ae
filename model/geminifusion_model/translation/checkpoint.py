"""The checkpoint of a translator: the common format, with a generator's configuration and a translation task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from geminifusion_model.checkpoint import read_description, reading, write_files
from geminifusion_model.translation.config import KIND, TranslatorConfig
from geminifusion_model.translation.task import TranslationTask


@dataclass(frozen=True, kw_only=True)
class TranslatorInfo:
    """The content of `config.json`."""

    network: TranslatorConfig
    task: TranslationTask
    training: dict[str, Any] = field(default_factory=dict)


def write_translator(directory: Path, weights: Mapping[str, Tensor], info: TranslatorInfo) -> None:
    """Write the weights of a generator and their description; each file replaces its predecessor atomically."""
    description = {
        "kind": KIND,
        "network": info.network.to_dict(),
        "task": info.task.to_dict(),
        "training": info.training,
    }
    write_files(directory, weights, description)


def read_translator(directory: Path) -> TranslatorInfo:
    """Read `config.json`.

    Raises:
        CheckpointError: it is missing, does not validate or is of another task.
    """
    with reading(directory):
        raw = read_description(directory, kind=KIND)
        return TranslatorInfo(
            network=TranslatorConfig.from_dict(raw["network"]),
            task=TranslationTask.from_dict(raw["task"]),
            training=raw.get("training", {}),
        )
