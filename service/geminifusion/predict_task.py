"""Which task a model is for that `geminifusion predict` was given, where the inputs do not say it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from geminifusion_runtime.task_names import SEGMENTATION

WRONG_TASK = "wrong_task"  # the code of an error


class FoundTask(NamedTuple):
    """The task of a model, which its reference names."""

    reference: str
    task: str


def task_of_artifact(artifact: Path | None) -> FoundTask:
    """The task of an artifact; None is the bundled one.

    Raises:
        ArtifactError: it cannot be read.
    """
    from geminifusion_runtime.artifact import read_metadata
    from geminifusion_runtime.bundled import artifact_path

    metadata = read_metadata(artifact_path() if artifact is None else artifact)
    return FoundTask(metadata.reference, metadata.task)


def task_at(url: str, model: str | None) -> FoundTask | None:
    """The task of the model that a server did not segment with; None where there is no such model.

    Args:
        model: `name` or `name@version`; the server's default otherwise.

    Raises:
        ClientError: the server cannot be asked.
    """
    from .client import Client

    with Client(url) as client:
        described = client.models()
    name, _, version = (model or "").partition("@")
    for one in described:
        found = FoundTask(f"{one.get('name')}@{one.get('version')}", str(one.get("task", SEGMENTATION)))
        is_meant = model is None or (one.get("name") == name and version in ("", one.get("version")))
        if is_meant and found.task != SEGMENTATION:
            return found
    return None


def without_points(found: FoundTask) -> str:
    """The sentence for a detector that was given no points."""
    return f"{found.reference} is for {found.task}; give RGB, --input points=FILE and --input calibration=FILE"
