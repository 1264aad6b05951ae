"""Which class of model runs an artifact, by its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import Backend
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.detection.model import DetectionModel

_MODELS: Mapping[str, type[Model]] = {"semantic-segmentation": Model, "object-detection-3d": DetectionModel}


def loaded_model(
    metadata: ArtifactMetadata, backend: Backend, reason: str = "", *, others: Sequence[Backend] = ()
) -> Model:
    """A model around loaded backends; see `Model`."""
    return _MODELS[metadata.task](metadata, backend, reason, others=others)


def open_model(
    directory: Path | str,
    *,
    threads: int | None = None,
    backend: str = "auto",
    trusted_keys: Path | None = None,
) -> Model:
    """Verify an artifact and load it in this process; see `Model.open`."""
    opened = Model.open(directory, threads=threads, backend=backend, trusted_keys=trusted_keys)
    return loaded_model(opened.metadata, opened.backend, opened.reason)
