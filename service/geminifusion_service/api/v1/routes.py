"""The paths under /v1: one for each task, models, and the model repository."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.api.openapi import DocumentedRoute
from geminifusion_service.api.v1.openapi import (
    CONTROL_OPERATION,
    INDEX_OPERATION,
    MODEL_OPERATION,
    MODELS_OPERATION,
)
from geminifusion_service.api.v1.query import accepts_gzip
from geminifusion_service.api.v1.responses import cacheable_json
from geminifusion_service.api.v1.task_apis import TASK_APIS, TaskApi
from geminifusion_service.errors import public_error
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.models.description import describe_reference
from geminifusion_service.models.registry import Status
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.request import TaskRequest
from geminifusion_service.settings import LimitSettings
from geminifusion_service.transport.http.body import (
    cancel_on_disconnect,
    check_encoding,
    holding_of,
    multipart_boundary,
    read_body,
    split_json,
    split_multipart,
)

TRANSPORT = "http"


def v1_routes(
    segmenter: Segmenter,
    limits: LimitSettings,
    metrics: Metrics,
    telemetry: Telemetry,
    model_manager: ModelManager | None,
) -> list[DocumentedRoute]:
    """Every path under /v1; the repository's only with a manager. Errors are raised for the application to handle."""
    models = _Models(segmenter)
    routes = [
        *(_task_route(api, segmenter, limits, metrics, telemetry) for api in TASK_APIS),
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


def _task_route(
    api: TaskApi, segmenter: Segmenter, limits: LimitSettings, metrics: Metrics, telemetry: Telemetry
) -> DocumentedRoute:
    """The path of a task's requests."""
    requests = _TaskRequests(api, segmenter, limits, metrics, telemetry)
    return DocumentedRoute(
        api.path,
        requests.answer,
        method="POST",
        tag=api.verb,
        operation={
            "summary": api.verb.title(),
            "description": api.description,
            "operationId": f"{api.verb}{api.path.replace('/', '_')}_post",
            **api.operation,
        },
        of_models=lambda: api.of_models([model for model in segmenter.models if model.metadata.task == api.task]),
        admission=TRANSPORT,
    )


class _TaskRequests:
    """Requests of one task."""

    def __init__(
        self, api: TaskApi, segmenter: Segmenter, limits: LimitSettings, metrics: Metrics, telemetry: Telemetry
    ) -> None:
        self._api = api
        self._segmenter = segmenter
        self._limits = limits
        self._metrics = metrics
        self._telemetry = telemetry

    async def answer(self, request: Request) -> Response:
        """Run one request, and count it by its outcome."""
        try:
            response = await self._answer(request)
        except Exception as error:
            self._metrics.requests.labels(TRANSPORT, public_error(error).code).inc()
            raise
        self._metrics.requests.labels(TRANSPORT, "ok").inc()
        return response

    async def _answer(self, request: Request) -> Response:
        headers = request.headers
        try:
            options = self._api.options(
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
            if self._api.finds_model_first:
                self._segmenter.models.for_task(options.model, options.task)
            limits = self._limits
            body = await read_body(request, max_bytes=limits.max_body_bytes, timeout_s=limits.body_timeout_s)
            if boundary is not None:
                images = split_multipart(body, boundary)
            else:
                images = await asyncio.to_thread(split_json, body)
            del body  # the parts are copies; keeping it would double the memory while the request waits
            work = self._segmenter.segment(TaskRequest(parts=images, options=options), ticket)
            takes_gzip = accepts_gzip(headers.get("accept-encoding"))
            return self._api.response(await cancel_on_disconnect(request, work), takes_gzip)


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
