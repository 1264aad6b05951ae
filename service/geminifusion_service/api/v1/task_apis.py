"""The HTTP API of each task: what its query means, how its response is written, and its operation in OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from geminifusion_runtime.model import Model
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.task_names import DETECTION, SEGMENTATION, TRANSLATION
from geminifusion_runtime.tasks.registry import TASKS
from geminifusion_service.api.v1.detection import DETECT_OPERATION, detect_options_from_query, detect_response
from geminifusion_service.api.v1.openapi import SEGMENT_OPERATION
from geminifusion_service.api.v1.openapi_models import segment_operation
from geminifusion_service.api.v1.query import options_from_query
from geminifusion_service.api.v1.responses import segment_response
from geminifusion_service.api.v1.translation import (
    TRANSLATE_OPERATION,
    translate_operation,
    translate_options_from_query,
    translate_response,
)
from geminifusion_service.request import TaskResponse, detect_response_of, segment_response_of, translate_response_of


@dataclass(frozen=True, kw_only=True)
class TaskApi:
    """One path of the API, `/v1/VERB`.

    Args:
        task: as `TASKS` names it.
        description: of the operation.
        options: the options in a query string, given the request's id and its `Accept` header.
        response: the response over HTTP; the flag says whether it may be compressed with gzip.
        operation: in the OpenAPI document, as far as it is the same for all models.
        of_models: what of it follows from the loaded models of this task.
        finds_model_first: whether a request for no model of the task is refused before its body is read; otherwise
            what is wrong with the body is said first.
    """

    task: str
    description: str
    options: Callable[..., RequestOptions]
    response: Callable[[TaskResponse, bool], Response]
    operation: Mapping[str, Any]
    of_models: Callable[[Sequence[Model]], dict[str, Any]]
    finds_model_first: bool = True

    @property
    def verb(self) -> str:
        """The last part of its path."""
        return TASKS[self.task].verb

    @property
    def path(self) -> str:
        """Of its requests."""
        return TASKS[self.task].path


TASK_APIS: tuple[TaskApi, ...] = (
    TaskApi(
        task=SEGMENTATION,
        description="Segment one scene: an image of each of the model's modalities, of the same pixels.",
        options=options_from_query,
        response=lambda response, accepts_gzip: segment_response(
            segment_response_of(response), accepts_gzip=accepts_gzip
        ),
        operation=SEGMENT_OPERATION,
        of_models=segment_operation,
        finds_model_first=False,
    ),
    TaskApi(
        task=TRANSLATION,
        description="Translate one view to another domain: an image of each of the model's inputs, of the same pixels.",
        options=translate_options_from_query,
        response=lambda response, _: translate_response(translate_response_of(response)),
        operation=TRANSLATE_OPERATION,
        of_models=translate_operation,
    ),
    TaskApi(
        task=DETECTION,
        description="Detect objects in one frame: the image, the LiDAR's points, and the calibration of both.",
        options=detect_options_from_query,
        response=lambda response, _: detect_response(detect_response_of(response)),
        operation=DETECT_OPERATION,
        of_models=lambda _: {},
    ),
)
