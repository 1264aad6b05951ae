"""The tasks that are served, by the names that artifacts have for them."""

from __future__ import annotations

from collections.abc import Mapping

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_service.tasks.base import ServedTask
from geminifusion_service.tasks.detection import DetectionTask
from geminifusion_service.tasks.segmentation import SegmentationTask

SERVED_TASKS: Mapping[str, ServedTask] = {
    "semantic-segmentation": SegmentationTask(),
    "object-detection-3d": DetectionTask(),
}


def served_task(metadata: ArtifactMetadata) -> ServedTask:
    """The task of a model."""
    return SERVED_TASKS[metadata.task]
