"""REST: translates between HTTP and the segmenter, and decides nothing else."""

from __future__ import annotations

import asyncio
import logging
import time

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geminifusion_runtime.errors import BadRequestError, GeminiFusionError
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.api.open_inference.inference import OpenInference
from geminifusion_service.api.open_inference.routes import error_response as open_inference_error
from geminifusion_service.api.open_inference.routes import (
    infer_handler,
    infer_path,
    is_open_inference,
    open_inference_router,
)
from geminifusion_service.api.v1.openapi import PROBLEM_RESPONSES, SEGMENT_OPERATION, UNCHANGED_RESPONSES
from geminifusion_service.api.v1.query import options_from_query
from geminifusion_service.api.v1.repository import add_repository_routes
from geminifusion_service.api.v1.responses import answer, problem, tagged_json
from geminifusion_service.errors import MethodNotAllowedError, NotFoundError, public_error
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.models.description import describe_reference
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import (
    RequestContext,
    set_request_context,
)
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.telemetry import Records
from geminifusion_service.request import SegmentRequest
from geminifusion_service.security.api_keys import AccessControl
from geminifusion_service.settings import Settings
from geminifusion_service.transport.http.api_keys import RequireKey
from geminifusion_service.transport.http.body import (
    check_encoding,
    multipart_boundary,
    read_body,
    split_json,
    split_multipart,
)
from geminifusion_service.transport.http.disconnect import unless_gone
from geminifusion_service.transport.http.fast_path import HotRoutes, exactly
from geminifusion_service.transport.http.head_requests import HeadAsGet
from geminifusion_service.transport.http.negotiation import accepts_gzip

_log = logging.getLogger(__name__)

SEGMENT_PATH = "/v1/segment"

# Of pages for people: nobody frames them or takes them for something else, and no address of ours leaks.
_PAGE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def build_http_app(
    segmenter: Segmenter,
    settings: Settings,
    metrics: Metrics,
    open_inference: OpenInference,
    model_manager: ModelManager | None = None,
    access: AccessControl | None = None,
    records: Records | None = None,
) -> FastAPI:
    """The ASGI application around one segmenter; without a manager its models cannot be changed.

    Without `access` no API keys are asked for.
    """
    app = FastAPI(
        title="geminifusion",
        summary="RGB + depth in, segmentation mask out.",
        version="1",
        redoc_url=None,
        openapi_tags=[{"name": "segment"}, {"name": "models"}, {"name": "operations"}],
    )
    records = records or Records(log_requests=False)
    infer = infer_handler(open_inference, settings)
    hot_routes = [(exactly(SEGMENT_PATH), lambda request: segment(request)), (infer_path, infer)]
    app.add_middleware(HeadAsGet)
    app.add_middleware(HotRoutes, routes=hot_routes, refuse=refusal)
    # The last one added is the first to see a request: a browser asks without a key whether it may send one.
    app.add_middleware(
        RequireKey,
        access=access or AccessControl(),
        refuse=refusal,
        records=records,
        open_metrics=settings.open_metrics,
    )
    if origins := settings.cors_allowed:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Api-Key", "X-Request-Id"],
            expose_headers=["*"],
        )
    app.add_middleware(RequestIds)

    @app.post(SEGMENT_PATH, tags=["segment"], response_class=Response, openapi_extra=SEGMENT_OPERATION)
    async def segment(request: Request) -> Response:
        """Segment one RGB image with the depth image of the same pixels."""
        try:
            response = await _segment(request)
        except Exception as error:
            metrics.requests.labels("http", public_error(error).code).inc()
            raise
        metrics.requests.labels("http", "ok").inc()
        return response

    async def _segment(request: Request) -> Response:
        try:
            options = parse_query(request)
            check_encoding(request.headers.get("content-encoding"))
            boundary = multipart_boundary(request.headers.get("content-type"))
        except GeminiFusionError as error:
            records.failed(error, time.monotonic())
            raise
        length = request.headers.get("content-length", "")
        with segmenter.admit(  # before a body of megabytes is read
            body_bytes=int(length) if length.isdecimal() else 0,
            deadline_ms=options.deadline_ms,
            priority=options.priority,
        ) as ticket:
            body = await read_body(request, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
            if boundary is not None:
                images = split_multipart(body, boundary)
            else:
                images = await asyncio.to_thread(split_json, body)
            del body  # the parts are copies; this would double the memory while the request waits
            work = segmenter.segment(SegmentRequest(images=images, options=options), ticket)
            packed = accepts_gzip(request.headers.get("accept-encoding"))
            return answer(await unless_gone(request, work), accepts_gzip=packed)

    @app.get("/v1/models", tags=["models"], response_class=Response, responses=UNCHANGED_RESPONSES)
    async def models(request: Request) -> Response:
        """Every loaded model with its classes, palette, modalities, limits, scores and state; the default first."""
        described = [describe_reference(segmenter.models, model.reference) for model in segmenter.models]
        return tagged_json(request, {"models": described})

    @app.get(
        "/v1/models/{name}",
        tags=["models"],
        response_class=Response,
        responses=PROBLEM_RESPONSES | UNCHANGED_RESPONSES,
    )
    async def model(name: str, request: Request) -> Response:
        """One model, by `name` or `name@version`; of one that is not loaded, its state and why."""
        return tagged_json(request, describe_reference(segmenter.models, name))

    @app.get("/healthz", tags=["operations"], responses={503: {"description": "only a restart can help"}})
    @app.get("/healthz/live", tags=["operations"], responses={503: {"description": "only a restart can help"}})
    async def live() -> Response:
        """200 while the process is worth keeping; 503 once the engine has died."""
        return JSONResponse({"status": "broken" if segmenter.broken else "live"}, 503 if segmenter.broken else 200)

    @app.get("/healthz/ready", tags=["operations"], responses={503: {"description": "starting or stopping"}})
    async def ready() -> Response:
        """200 when models are verified and warm and the server is not stopping."""
        return JSONResponse(
            {"status": "ready" if segmenter.ready else segmenter.state.value},
            200 if segmenter.ready else 503,
        )

    @app.get("/metrics", tags=["operations"], response_class=Response)
    async def prometheus() -> Response:
        """Prometheus text."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def root() -> dict[str, str]:
        return {"service": "geminifusion", "docs": "/docs", "models": "/v1/models"}

    app.include_router(open_inference_router(open_inference, settings, infer))
    if model_manager is not None:
        add_repository_routes(app, model_manager)
    _answer_errors(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(GeminiFusionError)
    async def ours(request: Request, error: Exception) -> Response:
        return refusal(request.url.path, public_error(error), request.state.request_id)

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path, method = request.url.path, request.method
        kinds: dict[int, GeminiFusionError] = {
            404: NotFoundError(f"there is nothing at {path}; /docs lists what there is"),
            405: MethodNotAllowedError(f"{path} does not take {method}; /docs lists what it takes"),
        }
        kind = kinds.get(error.status_code, BadRequestError(str(error.detail)))
        response = refusal(path, kind, request.state.request_id)
        response.headers.update(error.headers or {})  # Allow, of a method that is not taken
        return response


def is_hot(path: str) -> bool:
    """Whether POST to a path takes a place among the requests that are worked on."""
    return path == SEGMENT_PATH or infer_path(path) is not None


def refusal(path: str, error: GeminiFusionError, request_id: str) -> Response:
    """The answer to a request that failed, as clients of its path read it."""
    return open_inference_error(error, request_id) if is_open_inference(path) else problem(error, request_id)


def parse_query(request: Request) -> SegmentOptions:
    """The options in the query string; a format that is not named is that of `Accept`.

    Raises:
        InvalidOptionError: see `options_from_query`.
    """
    options = options_from_query(
        request.query_params.multi_items(),
        request_id=request.state.request_id,
        accept=request.headers.get("accept"),
    )
    request.state.request_id = options.request_id
    return options


class RequestIds:
    """Gives every request an id, from X-Request-Id where that is usable, and turns bugs into clean 500s."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one ASGI call."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        context = RequestContext.of_http(scope["type"], scope["headers"], scope.get("client"))
        set_request_context(context)
        state = scope.setdefault("state", {})
        state["request_id"] = context.request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                answered = MutableHeaders(scope=message)
                answered["X-Request-Id"] = state["request_id"]
                if answered.get("content-type", "").startswith("text/html"):
                    answered.update(_PAGE_HEADERS)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            _log.exception("request %s failed", state["request_id"])
            if not started:
                answered = refusal(scope["path"], public_error(error), state["request_id"])
                await answered(scope, receive, send_with_id)
