"""The paths under /v1: segmentation, models, and the model repository."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_service.api.openapi import DocumentedRoute
from geminifusion_service.api.v1.detection import DETECT_OPERATION, detect_options_from_query, detect_response
from geminifusion_service.api.v1.openapi import (
    CONTROL_OPERATION,
    INDEX_OPERATION,
    MODEL_OPERATION,
    MODELS_OPERATION,
    SEGMENT_OPERATION,
)
from geminifusion_service.api.v1.openapi_models import segment_operation
from geminifusion_service.api.v1.query import accepts_gzip as takes_gzip
from geminifusion_service.api.v1.query import options_from_query
from geminifusion_service.api.v1.responses import cacheable_json, segment_response
from geminifusion_service.errors import public_error
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.models.description import describe_reference
from geminifusion_service.models.registry import Status
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.admission import Ticket
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.request import DetectRequest, SegmentRequest, TaskResponse
from geminifusion_service.settings import LimitSettings
from geminifusion_service.tasks.registry import served_task
from geminifusion_service.transport.http.body import (
    cancel_on_disconnect,
    check_encoding,
    holding_of,
    multipart_boundary,
    read_body,
    split_json,
    split_multipart,
)

SEGMENT_PATH, DETECT_PATH = "/v1/segment", "/v1/detect"
TRANSPORT = "http"

OptionsT = TypeVar("OptionsT", bound=RequestOptions)
OptionsT_co = TypeVar("OptionsT_co", bound=RequestOptions, covariant=True)
ResponseT = TypeVar("ResponseT", bound=TaskResponse)


class _ReadOptions(Protocol[OptionsT_co]):
    """Options from a query; see `options_from_query`."""

    def __call__(self, pairs: Sequence[tuple[str, str]], *, request_id: str, accept: str | None) -> OptionsT_co: ...


def v1_routes(
    segmenter: Segmenter,
    limits: LimitSettings,
    metrics: Metrics,
    telemetry: Telemetry,
    model_manager: ModelManager | None,
) -> list[DocumentedRoute]:
    """Every path under /v1; the repository's only with a manager. Errors are raised for the application to handle."""
    tasks = _Tasks(segmenter, limits, metrics, telemetry)
    models = _Models(segmenter)
    routes = [
        DocumentedRoute(
            SEGMENT_PATH,
            tasks.segment,
            method="POST",
            tag="segment",
            operation=SEGMENT_OPERATION,
            of_models=lambda: segment_operation(
                [
                    model.metadata
                    for model in segmenter.models
                    if served_task(model.metadata).request_type is SegmentRequest
                ]
            ),
            admission=TRANSPORT,
        ),
        DocumentedRoute(
            DETECT_PATH,
            tasks.detect,
            method="POST",
            tag="detect",
            operation=DETECT_OPERATION,
            admission=TRANSPORT,
        ),
        DocumentedRoute("/v1/models", models.models, tag="models", operation=MODELS_OPERATION),
        DocumentedRoute("/v1/models/{name}", models.model, tag="models", operation=MODEL_OPERATION),
    ]
    if model_manager is not None:
        repository = _Repository(model_manager)
        routes.append(
            DocumentedRoute("/v1/repository/index", repository.index, tag="models", operation=INDEX_OPERATION)
        )
        routes += [
            DocumentedRoute(
                f"/v1/repository/models/{{name}}/{handler.__name__}",
                handler,
                method="POST",
                tag="models",
                operation=CONTROL_OPERATION,
            )
            for handler in (repository.load, repository.unload)
        ]
    return routes


class _Tasks:
    """What the tasks have in common over HTTP: options in the query, parts in the body, one response."""

    def __init__(self, segmenter: Segmenter, limits: LimitSettings, metrics: Metrics, telemetry: Telemetry) -> None:
        self._segmenter = segmenter
        self._limits = limits
        self._metrics = metrics
        self._telemetry = telemetry

    async def segment(self, request: Request) -> Response:
        """Segment one scene: an image of each of the model's modalities, of the same pixels."""
        accepts_gzip = takes_gzip(request.headers.get("accept-encoding"))
        return await self._counted(
            request,
            options_from_query,
            lambda parts, options, ticket: self._segmenter.segment(
                SegmentRequest(images=parts, options=options), ticket
            ),
            lambda response: segment_response(response, accepts_gzip=accepts_gzip),
        )

    async def detect(self, request: Request) -> Response:
        """Detect objects in one frame: the image `rgb`, the LiDAR's `points`, and the `calibration` of both."""
        return await self._counted(
            request,
            detect_options_from_query,
            lambda parts, options, ticket: self._segmenter.detect(DetectRequest(images=parts, options=options), ticket),
            detect_response,
        )

    async def _counted(
        self,
        request: Request,
        read_options: _ReadOptions[OptionsT],
        run: Callable[[dict[str, bytes], OptionsT, Ticket], Coroutine[Any, Any, ResponseT]],
        encode: Callable[[ResponseT], Response],
    ) -> Response:
        try:
            response = await self._respond(request, read_options, run, encode)
        except Exception as error:
            self._metrics.requests.labels(TRANSPORT, public_error(error).code).inc()
            raise
        self._metrics.requests.labels(TRANSPORT, "ok").inc()
        return response

    async def _respond(
        self,
        request: Request,
        read_options: _ReadOptions[OptionsT],
        run: Callable[[dict[str, bytes], OptionsT, Ticket], Coroutine[Any, Any, ResponseT]],
        encode: Callable[[ResponseT], Response],
    ) -> Response:
        headers = request.headers
        try:
            options = read_options(
                request.query_params.multi_items(),
                request_id=request.state.request_id,
                accept=headers.get("accept"),
            )
            request.state.request_id = options.request_id
            check_encoding(headers.get("content-encoding"))
            boundary = multipart_boundary(headers.get("content-type"))
        except GeminiFusionError as error:
            self._telemetry.failed(error, time.monotonic())
            raise
        with self._segmenter.admit(  # before a body of megabytes is read
            body_bytes=request.state.content_length,
            deadline_ms=options.deadline_ms,
            priority=options.priority,
            holding=holding_of(request),
        ) as ticket:
            limits = self._limits
            body = await read_body(request, max_bytes=limits.max_body_bytes, timeout_s=limits.body_timeout_s)
            if boundary is not None:
                parts = split_multipart(body, boundary)
            else:
                parts = await asyncio.to_thread(split_json, body)
            del body  # the parts are copies; keeping it would double the memory while the request waits
            return encode(await cancel_on_disconnect(request, run(parts, options, ticket)))


class _Models:
    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    async def models(self, request: Request) -> Response:
        """Every loaded model with its classes, palette, modalities, limits, scores and state; the default first."""
        models = self._segmenter.models
        return cacheable_json(request, {"models": [describe_reference(models, model.reference) for model in models]})

    async def model(self, request: Request) -> Response:
        """One model, by `name` or `name@version`; of one that is not loaded, its state and the reason."""
        return cacheable_json(request, describe_reference(self._segmenter.models, request.path_params["name"]))


class _Repository:
    """What an operator may do to the models; API keys decide who is one."""

    def __init__(self, models: ModelManager) -> None:
        self._models = models

    async def index(self, _: Request) -> Response:
        """Every version that is loaded or could be, with its state and, if it is not served, the reason."""
        return _status_response(await self._models.index())

    async def load(self, request: Request) -> Response:
        """Load the newest versions of `name`, or just `name@version`; responds once requests reach it."""
        self._models.check_may_change()
        return _status_response(await self._models.load(request.path_params["name"]))

    async def unload(self, request: Request) -> Response:
        """Unload `name` or `name@version`; responds once its requests are finished and its memory is released."""
        self._models.check_may_change()
        return _status_response(await self._models.unload(request.path_params["name"]))


def _status_response(statuses: Iterable[Status]) -> Response:
    models = [
        {"name": one.name, "version": one.version, "state": one.state.value, "reason": one.reason} for one in statuses
    ]
    return JSONResponse({"models": models})
