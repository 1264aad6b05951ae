"""The checkpoint format: a directory with `model.safetensors` and `config.json`, no pickle.

`config.json` holds everything needed to rebuild and to judge a network: its `kind` (see `tasks.registry`; none is
semantic segmentation), `network` (of segmentation: GeminiFusionConfig), and for trained weights `task` (encodings,
classes) and `training` (data, budget, scores).
The key names of `model.safetensors` are a public interface; `tests/model/test_state_dict_keys.py` lists them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.task import Task
from geminifusion_runtime import strict_json
from geminifusion_runtime.task_names import SEGMENTATION

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


class _Described(Protocol):
    """A value that is stored as plain data."""

    def to_dict(self) -> dict[str, Any]: ...

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self: ...


_NetworkConfig = TypeVar("_NetworkConfig", bound=_Described)
_TaskOfKind = TypeVar("_TaskOfKind", bound=_Described)


@dataclass(frozen=True, kw_only=True)
class InfoOfKind(Generic[_NetworkConfig, _TaskOfKind]):
    """The content of `config.json` of a checkpoint of another kind than segmentation."""

    network: _NetworkConfig
    task: _TaskOfKind
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointKind(Generic[_NetworkConfig, _TaskOfKind]):
    """Reads and writes checkpoints of one kind.

    Args:
        name: as `config.json` has it.
        network, task: the classes of its two parts.
    """

    name: str
    network: type[_NetworkConfig]
    task: type[_TaskOfKind]

    def write(
        self, directory: Path, weights: Mapping[str, Tensor], info: InfoOfKind[_NetworkConfig, _TaskOfKind]
    ) -> None:
        """Write weights and their description; each file replaces its predecessor atomically."""
        description = {
            "kind": self.name,
            "network": info.network.to_dict(),
            "task": info.task.to_dict(),
            "training": info.training,
        }
        write_files(directory, weights, description)

    def read(self, directory: Path) -> InfoOfKind[_NetworkConfig, _TaskOfKind]:
        """Read `config.json`.

        Raises:
            CheckpointError: it is missing, does not validate or is of another kind.
        """
        with reading(directory):
            raw = read_description(directory, kind=self.name)
            return InfoOfKind(
                network=self.network.from_dict(raw["network"]),
                task=self.task.from_dict(raw["task"]),
                training=raw.get("training", {}),
            )


def write_checkpoint(
    net: _Network, directory: Path, *, task: Task | None = None, training: dict[str, Any] | None = None
) -> None:
    """Write weights and description; each file replaces its predecessor atomically."""
    description: dict[str, Any] = {"network": net.config.to_dict()}
    if task is not None:
        description["task"] = task.to_dict()
    if training:
        description["training"] = training
    write_files(directory, net.state_dict(), description)


def write_files(directory: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write the files of a checkpoint of any kind; each replaces its predecessor atomically.

    Args:
        description: for `config.json`, plain data; `format` is added.
    """
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{WEIGHTS_NAME}.partial"
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, partial)
    partial.replace(directory / WEIGHTS_NAME)
    partial = directory / f".{CONFIG_NAME}.partial"
    partial.write_text(strict_json.dumps({"format": FORMAT, **description}, indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / CONFIG_NAME)


def read_info(directory: Path) -> CheckpointInfo:
    """Read `config.json` of a segmentation network.

    Raises:
        CheckpointError: it is missing, does not validate or is of another kind.
    """
    with reading(directory):
        raw = read_description(directory, kind=SEGMENTATION)
        return CheckpointInfo(
            network=GeminiFusionConfig.from_dict(raw["network"]),
            task=Task.from_dict(raw["task"]) if "task" in raw else None,
            training=raw.get("training", {}),
        )


def read_description(directory: Path, *, kind: str | None = None) -> dict[str, Any]:
    """The content of `config.json` of a checkpoint of any kind, or of one kind.

    Only what all kinds have in common is checked; `network` is there.

    Raises:
        CheckpointError: it is missing, describes no checkpoint, or one of another kind.
    """
    path = directory / CONFIG_NAME
    with reading(directory):
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise CheckpointError(f"{path} holds no mapping; give a directory written by `geminifusion train`")
        if "network" not in raw and "model_type" in raw:
            raise CheckpointError(
                f"{path} describes weights of another library ({raw['model_type']}); make a checkpoint of them with "
                f"`geminifusion import {directory} CHECKPOINT --task TASK`"
            )
        found = raw.get("kind", SEGMENTATION)
        if kind is not None and found != kind:
            raise CheckpointError(f"{directory} is a checkpoint for {found}; give one for {kind}")
        if not isinstance(raw.get("training", {}), dict):
            raise CheckpointError(f"{path} has a training record that is no mapping; copy the checkpoint again")
        raw["network"]
        return raw


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Turn what goes wrong while `config.json` is read and understood into a `CheckpointError`."""
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(
            f"{directory} holds no {CONFIG_NAME}; give a directory written by save_pretrained or `geminifusion train`"
        ) from None
    except CheckpointError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{directory / CONFIG_NAME} does not describe a checkpoint: {error}") from error


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
