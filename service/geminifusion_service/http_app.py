"""The HTTP application: the routes of both APIs, health and metrics, and the middleware around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from re import Pattern

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from geminifusion_runtime.errors import BadRequestError, GeminiFusionError
from geminifusion_service.api.open_inference.inference import OpenInference
from geminifusion_service.api.open_inference.responses import error_response as open_inference_error
from geminifusion_service.api.open_inference.routes import is_open_inference, open_inference_routes
from geminifusion_service.api.openapi import PAGE_PATH, DocumentedRoute, document_route
from geminifusion_service.api.operations import operations_routes
from geminifusion_service.api.playground.routes import is_page, playground_routes
from geminifusion_service.api.v1.responses import error_response as v1_error
from geminifusion_service.api.v1.routes import v1_routes
from geminifusion_service.errors import MethodNotAllowedError, NotFoundError, public_error
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.security.api_keys import AccessControl
from geminifusion_service.settings import Settings
from geminifusion_service.transport.http.api_keys import RequireKey
from geminifusion_service.transport.http.cross_site import RejectCrossSite
from geminifusion_service.transport.http.direct_routes import DirectRoutes
from geminifusion_service.transport.http.request_context import RequestContextMiddleware


def build_http_app(
    segmenter: Segmenter,
    settings: Settings,
    metrics: Metrics,
    open_inference: OpenInference,
    model_manager: ModelManager | None = None,
    access: AccessControl | None = None,
    telemetry: Telemetry | None = None,
    *,
    grpc_port: Callable[[], int],
) -> FastAPI:
    """The ASGI application around one segmenter.

    Args:
        segmenter: runs the requests.
        settings: limits, and who may use the server from where.
        metrics: count the requests.
        open_inference: serves the paths under /v2.
        model_manager: loads and unloads models; without one they cannot be changed.
        access: checks API keys; without one, or where it asks for none, everybody may use the server.
        telemetry: records the requests.
        grpc_port: the port of the other transport, once it listens.
    """
    telemetry = telemetry or Telemetry(metrics, log_requests=False)
    # Tried one by one: those under load come first in the lists of both APIs.
    routes: list[BaseRoute] = [
        *v1_routes(segmenter, settings.limits, metrics, telemetry, model_manager),
        *open_inference_routes(open_inference, settings.limits),
        *operations_routes(segmenter, metrics),
    ]
    middleware = [Middleware(RequestContextMiddleware, error_response=error_response)]
    if origins := settings.security.cors_allowed:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "X-Api-Key", "X-Request-Id"],
                expose_headers=["*"],
            )
        )
    middleware.append(Middleware(RejectCrossSite, origins=origins, error_response=error_response, telemetry=telemetry))
    # Inside CORS: a browser asks without a key whether it may send one.
    if access is not None and access.asks_for_keys:
        middleware.append(
            Middleware(
                RequireKey,
                access=access,
                error_response=error_response,
                telemetry=telemetry,
                is_page=is_page,
                open_metrics=settings.security.open_metrics,
            )
        )
    direct = {route.path_regex: route.endpoint for route in admitted_routes(routes)}
    middleware.append(Middleware(DirectRoutes, handlers=direct, on_error=_service_error))
    # FastAPI's own routing parses parameters and validates bodies that these routes take raw; they are Starlette's.
    return FastAPI(
        routes=[*routes, document_route(routes), *playground_routes(grpc_port)],
        middleware=middleware,
        exception_handlers={GeminiFusionError: _service_error, HTTPException: _routing_error},
        openapi_url=None,
    )


def admitted_paths(routes: Iterable[BaseRoute]) -> dict[Pattern[str], str]:
    """Patterns of the paths whose POST needs admission, with the transport that metrics count them under."""
    return {route.path_regex: route.admission for route in admitted_routes(routes) if route.admission}


def admitted_routes(routes: Iterable[BaseRoute]) -> list[DocumentedRoute]:
    """The routes whose POST needs admission."""
    return [route for route in routes if isinstance(route, DocumentedRoute) and route.admission]


def error_response(path: str, error: GeminiFusionError, request_id: str) -> Response:
    """The response to a failed request, in the format of the API that its path belongs to."""
    return open_inference_error(error, request_id) if is_open_inference(path) else v1_error(error, request_id)


async def _service_error(request: Request, error: Exception) -> Response:
    return error_response(request.scope["path"], public_error(error), request.state.request_id)


async def _routing_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    errors: dict[int, GeminiFusionError] = {
        404: NotFoundError(f"there is nothing at {path}; {PAGE_PATH} lists what there is"),
        405: MethodNotAllowedError(f"{path} does not take {method}; {PAGE_PATH} lists what it takes"),
    }
    response = error_response(
        path, errors.get(error.status_code, BadRequestError(str(error.detail))), request.state.request_id
    )
    response.headers.update(error.headers or {})  # Allow, where the method is not taken
    return response
