"""The checkpoint of a detector: the common format, with a detector's configuration and a detection task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from geminifusion_model.checkpoint import read_description, reading, write_files
from geminifusion_model.detection.config import KIND, DetectorConfig
from geminifusion_model.detection.task import DetectionTask


@dataclass(frozen=True, kw_only=True)
class DetectorInfo:
    """The content of `config.json`."""

    network: DetectorConfig
    task: DetectionTask
    training: dict[str, Any] = field(default_factory=dict)


def write_detector(directory: Path, weights: Mapping[str, Tensor], info: DetectorInfo) -> None:
    """Write the weights of a detector and their description; each file replaces its predecessor atomically."""
    description = {
        "kind": KIND,
        "network": info.network.to_dict(),
        "task": info.task.to_dict(),
        "training": info.training,
    }
    write_files(directory, weights, description)


def read_detector(directory: Path) -> DetectorInfo:
    """Read `config.json`.

    Raises:
        CheckpointError: it is missing, does not validate or is of another task.
    """
    with reading(directory):
        raw = read_description(directory, kind=KIND)
        return DetectorInfo(
            network=DetectorConfig.from_dict(raw["network"]),
            task=DetectionTask.from_dict(raw["task"]),
            training=raw.get("training", {}),
        )
