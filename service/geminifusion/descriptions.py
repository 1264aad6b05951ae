"""Models in words: their modalities, what they make of them, scores and licenses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from geminifusion_runtime.task_names import DETECTION, SEGMENTATION, TRANSLATION

from .errors import InvalidResponseError


def describe_artifact(directory: Path) -> str:
    """A few lines about an artifact, from its metadata alone.

    Raises:
        ArtifactError: the directory is no artifact this release reads.
    """
    from geminifusion_runtime.artifact import read_metadata

    return _describe(dataclasses.asdict(read_metadata(directory)))


def describe_served(model: Mapping[str, Any]) -> str:
    """A few lines about a model, from the description a server gives: the same facts under the same names.

    Raises:
        InvalidResponseError: a fact is missing.
    """
    try:
        return _describe(model)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidResponseError(
            f"the description of a model lacks what this release expects ({error!r}); "
            "install client and server of one release"
        ) from error


def _describe(facts: Mapping[str, Any]) -> str:
    size, training = facts["size"], facts["training"]
    height, width = size["reference"]
    task = facts.get("task", SEGMENTATION)
    if task not in _OF_TASK:
        raise ValueError(f"it is for {task!r}")
    own = _OF_TASK[task](facts)
    lines = {
        "task": task,
        "network": f"GeminiFusion {facts['encoder']}, fusion {facts['fusion']}, {facts['precision']}",
        "modalities": ", ".join(map(_modality, facts["modalities"])),
        "example": own.example,
        "size": f"sides from {size['min_side']}, up to {size['max_pixels']} pixels; scored at {width}x{height}",
        **own.lines,
        "trained on": training["data"],
        "training": training["summary"],
        "score": _score(own.scores, training),
        "weights": facts["weights_license"],
        "data": facts["data_license"],
    }
    margin = max(map(len, lines))
    title = f"{facts['name']}@{facts['version']}"
    return "\n".join([title, *(f"  {name:<{margin}}  {text}" for name, text in lines.items())])


class _TaskFacts(NamedTuple):
    """What only models of one task have.

    Attributes:
        example: the command for a scene.
        lines: further ones, by their heads.
        scores: in words; none where nothing was measured.
    """

    example: str
    lines: Mapping[str, str]
    scores: Sequence[str]


def _segmentation(facts: Mapping[str, Any]) -> _TaskFacts:
    names = [entry["name"] for entry in facts["classes"]]
    measures = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy", "mean_accuracy": "mean accuracy"}
    training = facts["training"]
    return _TaskFacts(
        example=_command(facts["modalities"]),
        lines={
            "classes": f"{len(names)}: {', '.join(names)}",
            "confidence": _confidence(facts["temperature"]),
        },
        scores=[f"{words} {training[name]:.2f} %" for name, words in measures.items() if training[name] is not None],
    )


def _translation(facts: Mapping[str, Any]) -> _TaskFacts:
    output = facts["output"]
    low, high = output["range"]
    shown = f"{low:g} to {high:g} m" if output["kind"] == "depth" else "8 bits"
    return _TaskFacts(
        example=_command(facts["modalities"]),
        lines={"makes": f"{output['name']} ({shown})"},
        scores=[f"{name} {value:.4g}" for name, value in facts["training"]["scores"].items()],
    )


def _detection(facts: Mapping[str, Any]) -> _TaskFacts:
    names = [entry["name"] for entry in facts["anchors"]["classes"]]
    grid = facts["grid"]
    axes = zip("xyz", grid["low"], grid["high"], strict=True)
    return _TaskFacts(
        example=f"{_command(facts['modalities'])} --input points=points.bin --input calibration=calib.txt",
        lines={
            "classes": f"{len(names)}: {', '.join(names)}",
            "range": ", ".join(f"{axis} {low:g} to {high:g} m" for axis, low, high in axes),
        },
        scores=[f"{name} {value:.2f} %" for name, value in facts["training"]["average_precision"].items()],
    )


_OF_TASK: Mapping[str, Callable[[Mapping[str, Any]], _TaskFacts]] = {
    SEGMENTATION: _segmentation,
    TRANSLATION: _translation,
    DETECTION: _detection,
}


def _modality(spec: Mapping[str, Any]) -> str:
    channels = ", 3 channels" if spec["channels"] == 3 and spec["encoding"] != "imagenet" else ""
    optional = ", may be absent" if spec["optional"] else ""
    return f"{spec['name']} ({spec['dtype']}, {spec['unit']}{channels}{optional})"


def _command(modalities: Sequence[Mapping[str, Any]]) -> str:
    """The command that segments a scene with images of all modalities."""
    files = {
        spec["name"]: f"{spec['name']}.{'jpg' if spec['encoding'] == 'imagenet' else 'png'}" for spec in modalities
    }
    named = dict(files)
    places = [named.pop("rgb")] if "rgb" in named else []
    if places and "depth" in named:
        places.append(named.pop("depth"))
    return " ".join(["geminifusion predict", *places, *(f"--input {name}={file}" for name, file in named.items())])


def _confidence(temperature: float | None) -> str:
    return "as trained" if temperature is None else f"calibrated on held-out frames, temperature {temperature:.2f}"


def _score(measured: Sequence[str], training: Mapping[str, Any]) -> str:
    how = ", ".join(text for name in ("protocol", "scored_on") if (text := training.get(name)))
    return (", ".join(measured) or "not measured") + (f" ({how})" if how else "")
