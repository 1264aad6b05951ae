"""Models in words: their modalities, classes, scores and licenses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    names = [entry["name"] for entry in facts["classes"]]
    lines = {
        "network": f"GeminiFusion {facts['encoder']}, fusion {facts['fusion']}, {facts['precision']}",
        "modalities": ", ".join(map(_modality, facts["modalities"])),
        "example": _command(facts["modalities"]),
        "size": f"sides from {size['min_side']}, up to {size['max_pixels']} pixels; scored at {width}x{height}",
        "classes": f"{len(names)}: {', '.join(names)}",
        "trained on": training["data"],
        "training": training["summary"],
        "score": _score(training),
        "confidence": _confidence(facts["temperature"]),
        "weights": facts["weights_license"],
        "data": facts["data_license"],
    }
    margin = max(map(len, lines))
    title = f"{facts['name']}@{facts['version']}"
    return "\n".join([title, *(f"  {name:<{margin}}  {text}" for name, text in lines.items())])


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


def _score(training: Mapping[str, Any]) -> str:
    measures = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy", "mean_accuracy": "mean accuracy"}
    measured = ", ".join(
        f"{words} {training[name]:.2f} %" for name, words in measures.items() if training[name] is not None
    )
    protocol = f" ({training['protocol']})" if training["protocol"] else ""
    return f"{measured or 'not measured'}{protocol}"
