"""The tasks there are: a row for each, whose code is imported once a model of it is opened.

To add one: a class of metadata in `geminifusion_runtime.artifact`, a package here, and its row.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geminifusion_runtime.task_names import DETECTION, SEGMENTATION, TRANSLATION

if TYPE_CHECKING:
    from geminifusion_runtime.artifact import ArtifactMetadata
    from geminifusion_runtime.tasks.base import TaskRuntime


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """One task.

    Args:
        name: as the artifact's metadata have it.
        verb: what a client asks for: `/v1/VERB` over HTTP, the method of that name over gRPC and of the client.
        runtime: its `TaskRuntime`, as `module:class`.
        takes_engines: whether runtimes beside ONNX Runtime can be built for its artifacts.
    """

    name: str
    verb: str
    runtime: str
    takes_engines: bool = True

    @property
    def path(self) -> str:
        """Of its requests over HTTP."""
        return f"/v1/{self.verb}"


TASKS: Mapping[str, TaskEntry] = {
    entry.name: entry
    for entry in (
        TaskEntry(
            name=SEGMENTATION,
            verb="segment",
            runtime="geminifusion_runtime.tasks.segmentation.runtime:SegmentationTask",
        ),
        TaskEntry(
            name=TRANSLATION,
            verb="translate",
            runtime="geminifusion_runtime.tasks.translation.runtime:TranslationTask",
        ),
        TaskEntry(
            name=DETECTION,
            verb="detect",
            runtime="geminifusion_runtime.tasks.detection.runtime:DetectionTask",
            takes_engines=False,
        ),
    )
}


def open_task(metadata: ArtifactMetadata) -> TaskRuntime[Any, Any, Any]:
    """The runtime of the task that a model is for."""
    module, _, name = TASKS[metadata.task].runtime.partition(":")
    made: TaskRuntime[Any, Any, Any] = getattr(importlib.import_module(module), name)(metadata)
    return made


def wrong_task(reference: str, task: str, asked: str) -> str:
    """The sentence for a request of another task than the model's.

    Args:
        reference: of the model.
        task: that it is for.
        asked: the task of the request.
    """
    own = TASKS[task]
    return (
        f"{reference} is for {task}, and this request for {asked}; send it to POST {own.path} (gRPC "
        f"{own.verb.capitalize()}, Client.{own.verb}), or name a model for {asked}"
    )
