"""The checkpoint format: a directory with `model.safetensors` and `config.json`, no pickle.

`config.json` holds everything needed to rebuild and to judge a network: `network` (GeminiFusionConfig), and for trained
weights `task` (modality encodings, classes) and `training` (data, budget, scores).
The key names of `model.safetensors` are a public interface; `tests/model/test_state_dict_keys.py` lists them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.task import Task
from geminifusion_runtime import strict_json

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT = "geminifusion-checkpoint/1"


class CheckpointError(ValueError):
    """The directory is no checkpoint, or not one this version can read."""


class _Network(Protocol):
    """`GeminiFusion`, which stands above this module."""

    config: GeminiFusionConfig

    def state_dict(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """The content of `config.json`."""

    network: GeminiFusionConfig
    task: Task | None = None
    training: dict[str, Any] = field(default_factory=dict)


def write_checkpoint(
    net: _Network, directory: Path, *, task: Task | None = None, training: dict[str, Any] | None = None
) -> None:
    """Write weights and description; each file replaces its predecessor atomically."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in net.state_dict().items()}
    partial = directory / f".{WEIGHTS_NAME}.partial"
    save_file(tensors, partial)
    partial.replace(directory / WEIGHTS_NAME)
    description: dict[str, Any] = {"format": FORMAT, "network": net.config.to_dict()}
    if task is not None:
        description["task"] = task.to_dict()
    if training:
        description["training"] = training
    partial = directory / f".{CONFIG_NAME}.partial"
    partial.write_text(strict_json.dumps(description, indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / CONFIG_NAME)


def read_info(directory: Path) -> CheckpointInfo:
    """Read `config.json`.

    Raises:
        CheckpointError: it is missing or does not validate.
    """
    path = directory / CONFIG_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise CheckpointError(f"{path} holds no mapping; give a directory written by `geminifusion train`")
        if "network" not in raw and "model_type" in raw:
            raise CheckpointError(
                f"{path} describes weights of another library ({raw['model_type']}); make a checkpoint of them with "
                f"`geminifusion import {directory} CHECKPOINT --task TASK`"
            )
        training = raw.get("training", {})
        if not isinstance(training, dict):
            raise CheckpointError(f"{path} has a training record that is no mapping; copy the checkpoint again")
        return CheckpointInfo(
            network=GeminiFusionConfig.from_dict(raw["network"]),
            task=Task.from_dict(raw["task"]) if "task" in raw else None,
            training=training,
        )
    except FileNotFoundError:
        raise CheckpointError(
            f"{directory} holds no {CONFIG_NAME}; give a directory written by save_pretrained or `geminifusion train`"
        ) from None
    except CheckpointError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} does not describe a checkpoint: {error}") from error


def load_weights(net: nn.Module, directory: Path) -> None:
    """Fill `net` from `model.safetensors`.

    Raises:
        CheckpointError: the file is missing or damaged, or its tensors do not fit the network.
    """
    path = directory / WEIGHTS_NAME
    try:
        net.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; copy the whole checkpoint directory") from None
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit its {CONFIG_NAME}: {error}") from error


def weights_sha256(directory: Path) -> str:
    """Hex SHA-256 of the weights file."""
    with (directory / WEIGHTS_NAME).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
