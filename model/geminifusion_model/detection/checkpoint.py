"""The checkpoint of a detector: the common format, with a detector's configuration and a detection task."""

from __future__ import annotations

from geminifusion_model.checkpoint import CheckpointKind, InfoOfKind
from geminifusion_model.detection.config import DetectorConfig
from geminifusion_model.detection.task import DetectionTask
from geminifusion_runtime.task_names import DETECTION

DetectorInfo = InfoOfKind[DetectorConfig, DetectionTask]

_KIND = CheckpointKind(DETECTION, DetectorConfig, DetectionTask)
write_detector = _KIND.write
read_detector = _KIND.read
