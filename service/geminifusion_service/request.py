"""A request and its response, the same for every transport."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.tasks.base import TaskResult
from geminifusion_runtime.tasks.detection.runtime import FoundBoxes
from geminifusion_runtime.tasks.segmentation.runtime import SegmentationResult
from geminifusion_runtime.tasks.translation.runtime import TranslationResult
from geminifusion_runtime.types import SensorHealth
from geminifusion_service.observability.timeline import Timeline


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """What a request carries, by part name, and its options, whose class says which task it is for.

    Bytes are an encoded file; an array is decoded, as `decode_part` takes it.
    """

    parts: Mapping[str, bytes | NDArray[np.generic]]
    options: RequestOptions


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Milliseconds of each stage. Time waiting for a free decoder or encoder counts as that stage's."""

    decode: float
    queue: float
    compute: float
    encode: float


_TIMED = tuple(stage.name for stage in dataclasses.fields(Timings))


@dataclass(frozen=True, kw_only=True)
class TaskResponse(TaskResult):
    """The result of a request, and what became of it on its way; each task's adds the fields of its result."""

    model: str
    request_id: str
    batch_size: int
    warnings: tuple[str, ...]
    timeline: Timeline = field(default_factory=Timeline)
    sensors: Mapping[str, SensorHealth] = field(default_factory=dict)  # of every image received, by modality name

    @functools.cached_property
    def timings(self) -> Timings:
        """Durations of the stages that every request passes, from the timeline."""
        milliseconds = dict.fromkeys(_TIMED, 0.0)
        for timing in self.timeline.stages:
            if timing.stage in milliseconds:
                milliseconds[timing.stage] += 1000 * timing.seconds
        return Timings(**milliseconds)


@dataclass(frozen=True, kw_only=True)
class SegmentResponse(SegmentationResult, TaskResponse):
    """Of a segmentation request."""


@dataclass(frozen=True, kw_only=True)
class TranslateResponse(TranslationResult, TaskResponse):
    """Of a translation request."""


@dataclass(frozen=True, kw_only=True)
class DetectResponse(FoundBoxes, TaskResponse):
    """Of a detection request."""


_RESPONSES: Mapping[type[TaskResult], type[TaskResponse]] = {
    SegmentationResult: SegmentResponse,
    TranslationResult: TranslateResponse,
    FoundBoxes: DetectResponse,
}


def segment_response_of(response: TaskResponse) -> SegmentResponse:
    """The response to a request with options of segmentation."""
    assert isinstance(response, SegmentResponse), "a request gets the response of its own task"
    return response


def detect_response_of(response: TaskResponse) -> DetectResponse:
    """The response to a request with options of detection."""
    assert isinstance(response, DetectResponse), "a request gets the response of its own task"
    return response


def translate_response_of(response: TaskResponse) -> TranslateResponse:
    """The response to a request with options of translation."""
    assert isinstance(response, TranslateResponse), "a request gets the response of its own task"
    return response


def response_of(result: TaskResult, **facts: Any) -> TaskResponse:  # noqa: ANN401 - the fields of `TaskResponse`
    """The response with the result of a task."""
    return _RESPONSES[type(result)](**vars(result), **facts)
