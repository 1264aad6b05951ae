"""From weights of others and a task to a checkpoint of ours."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geminifusion_model.checkpoint import read_info, write_checkpoint
from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.data.task_files import TaskDescription, describe_task, task_named, task_names
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_model.weights.official import load_official, official_config
from geminifusion_model.weights.report import OfficialReport
from geminifusion_model.weights.segformer import load_segformer, segformer_config, segformer_tensors
from geminifusion_model.weights.sources import WeightSource, open_weights

# metres per stored unit; "none": clients post the stored numbers; None: nobody said
DepthUnit = float | Literal["none"] | None


class TaskMismatchError(ValueError):
    """Weights and task do not belong together, or something that only the user knows was not said."""


@dataclass(frozen=True, kw_only=True)
class ImportedNetwork:
    """A network with the task it was trained for.

    Args:
        source: where the weights come from.
        report: of the tensors; None for a checkpoint of ours, which is loaded whole or not at all.
        training: the record for the checkpoint.
        notes: what the user should know, one sentence each.
    """

    net: GeminiFusion
    task: Task
    source: WeightSource
    report: OfficialReport | None
    training: dict[str, Any]
    notes: tuple[str, ...] = ()

    def write(self, directory: Path) -> None:
        """Write the checkpoint."""
        write_checkpoint(self.net, directory, task=self.task, training=self.training)

    def to_table(self) -> str:
        """What was imported, in a few lines."""
        config = self.net.config
        rows = [
            ("source", f"{self.source.path}: {self.source.name}"),
            ("network", f"{config.encoder}, fusion {config.fusion}, {config.num_classes} classes"),
        ]
        if self.report is not None:
            report = self.report
            rows.append(
                (
                    "tensors",
                    f"{len(report.used)} used, {len(report.missing)} missing, {len(report.unexpected)} left over, "
                    f"{len(report.mismatched)} of another shape, {len(report.ignored)} not needed",
                )
            )
        rows.append(("task", f"{self.task.data}; {self.task.input_policy.describe()}"))
        for modality in self.task.modalities:
            unit = f" / {modality.metres_per_unit:g}" if modality.metres_per_unit else ""
            rows.append((modality.name, f"{modality.encoding}, {modality.channels} x {modality.unit}{unit}"))
        rows += [("note", note) for note in self.notes]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def import_weights(
    path: Path, task: str, *, metres_per_unit: DepthUnit = None, modalities: tuple[str, ...] | None = None
) -> ImportedNetwork:
    """Read weights and give them a task.

    Args:
        path: a checkpoint of ours, or what `open_weights` recognizes.
        task: a name or file, as `describe_task` takes it.
        metres_per_unit: of depth files whose unit is written nowhere, if the task has such a modality.
        modalities: names in the network's order; those of the task if None and their number fits.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        TaskFileError: there is no such task.
        CheckpointError: a checkpoint of ours is damaged.
        OfficialWeightsError: the weights are of another network, or incomplete.
        TaskMismatchError: weights and task do not fit each other, or a unit has to be said.
    """
    description = describe_task(task)
    source = open_weights(path)
    config, kept = _config_of(source)
    wanted = _modalities(config, description, task, source, modalities)
    _check_classes(config, description, task, source)
    unit = _unit(description, task, wanted, metres_per_unit)
    encodings = task_named(task, unit)
    try:
        chosen = encodings.only(wanted)
    except ValueError as error:
        raise TaskMismatchError(str(error)) from None
    net, report = _network(source, dataclasses.replace(config, modalities=wanted))
    training = kept or {"summary": f"imported from {path.name}: {source.name}"}
    return ImportedNetwork(
        net=net,
        task=chosen,
        source=source,
        report=report,
        training=training,
        notes=_notes(source, description, wanted),
    )


def _config_of(source: WeightSource) -> tuple[GeminiFusionConfig, dict[str, Any]]:
    """The network's configuration, and the training record of a checkpoint of ours."""
    if source.kind == "checkpoint":
        info = read_info(source.path)
        return info.network, info.training
    if source.kind == "segformer":
        return segformer_config(*segformer_tensors(source.tensors)), {}
    return official_config(source.tensors), {}


def _network(source: WeightSource, config: GeminiFusionConfig) -> tuple[GeminiFusion, OfficialReport | None]:
    try:
        if source.kind == "checkpoint":
            return GeminiFusion.from_pretrained(source.path), None
        if source.kind == "segformer":
            return load_segformer(source.tensors)
        return load_official(source.tensors, config)
    except OfficialWeightsError as error:
        raise OfficialWeightsError(f"{source.path}: {error}; is the file complete, and of this network?") from None


def _modalities(
    config: GeminiFusionConfig,
    description: TaskDescription,
    task: str,
    source: WeightSource,
    asked: tuple[str, ...] | None,
) -> tuple[str, ...]:
    of_task = ("rgb", *description.modalities)
    count = len(config.modalities)
    if source.kind == "checkpoint":
        if asked not in (None, config.modalities):
            raise TaskMismatchError(
                f"{source.path} was trained on {', '.join(config.modalities)}, and {', '.join(asked or ())} were asked "
                "for; leave --modalities out"
            )
        return config.modalities
    if asked is not None:
        if len(asked) != count:
            raise TaskMismatchError(
                f"{source.path} is a network of {count} modalities, and {', '.join(asked)} were asked for; name {count}"
            )
        return asked
    if count == 1:
        return ("rgb",)
    if len(of_task) != count:
        example = ",".join(of_task[:count])
        raise TaskMismatchError(
            f"{source.path} is a network of {count} modalities, and {task} has {', '.join(of_task)}; name those it was "
            f"trained on, in its order, as --modalities {example}"
        )
    return of_task


def _check_classes(config: GeminiFusionConfig, description: TaskDescription, task: str, source: WeightSource) -> None:
    wanted = len(description.classes)
    if config.num_classes == wanted:
        return
    fitting = [name for name in task_names() if len(describe_task(name).classes) == config.num_classes]
    advice = f"with {config.num_classes} classes: {', '.join(fitting)}" if fitting else "none comes with so many"
    raise TaskMismatchError(
        f"{source.path} predicts {config.num_classes} classes, and {task} has {wanted}; give the task it was trained "
        f"for ({advice}), or a YAML file of your own"
    )


def _unit(description: TaskDescription, task: str, wanted: tuple[str, ...], given: DepthUnit) -> float | None:
    """Metres per stored unit for the modalities that leave it open; None for stored numbers."""
    asking = [name for name in description.unit_unknown if name in wanted]
    if not asking:
        if given is not None:
            raise TaskMismatchError(
                f"--metres-per-unit is {given}, but no modality of {task} that the network takes leaves its unit open; "
                "leave the option out"
            )
        return None
    if given is None:
        raise TaskMismatchError(
            f"in which unit the {asking[0]} files of {task} were stored when these weights were trained is written "
            "nowhere; say it with --metres-per-unit: 0.0392156863 if they have 8 bits over 10 m (no stored value above "
            "255), 0.001 if 16 bits of millimetres (a wall at 3 m is stored as 3000), 0.0002 if 16 bits at 5000 a "
            "metre, as TokenFusion's files (there it is 15000), or none, and clients post stored numbers themselves"
        )
    return None if given == "none" else given


def _notes(source: WeightSource, description: TaskDescription, wanted: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    left_out = [name for name in description.modalities if name not in wanted]
    if left_out:
        notes.append(f"the network does not see {', '.join(left_out)}")
    if source.labels and len(source.labels) == len(description.classes):
        ours = list(description.class_names)
        other = [pair for pair in zip(source.labels, ours, strict=True) if _differ(*pair)]
        if other:
            notes.append(
                f"{len(other)} classes have another name in the source's config.json, the first {other[0][0]!r} for "
                f"{other[0][1]!r}"
            )
    return tuple(notes)


def _differ(theirs: str, ours: str) -> bool:
    unnamed = theirs.upper().startswith("LABEL_")  # what transformers writes where nobody named the classes
    return not unnamed and _plain(theirs) != _plain(ours)


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
