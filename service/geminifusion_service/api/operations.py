"""Paths for whoever runs the server: health, metrics, version; under our names and under those of NVIDIA's NIM."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from geminifusion_service.api.openapi import DocumentedRoute, Handler
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.segmenter import Segmenter

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_API_VERSION = "1"
_JSON: dict[str, Any] = {"description": "as JSON", "content": {"application/json": {"schema": {"type": "object"}}}}
_TEXT = {"description": "as text", "content": {"text/plain": {"schema": {"type": "string"}}}}
_DEAD, _NOT_READY = "only a restart can help", "starting or stopping"


def operations_routes(segmenter: Segmenter, metrics: Metrics) -> list[DocumentedRoute]:
    """Every path of the tag `operations`."""
    operations = _Operations(segmenter, metrics)
    return [
        *(_health(path, operations.live, _DEAD) for path in ("/healthz", "/healthz/live")),
        _health("/healthz/ready", operations.ready, _NOT_READY),
        *(_route(path, operations.prometheus, {"200": _TEXT}) for path in ("/metrics", "/v1/metrics")),
        _health("/v1/health/live", operations.health_live, _DEAD),
        _health("/v1/health/ready", operations.health_ready, _NOT_READY),
        _route("/v1/version", operations.version, {"200": _JSON}),
        _route("/v1/metadata", operations.metadata, {"200": _JSON}),
    ]


def _health(path: str, handler: Handler, otherwise: str) -> DocumentedRoute:
    return _route(path, handler, {"200": _JSON, "503": {**_JSON, "description": otherwise}})


def _route(path: str, handler: Handler, responses: dict[str, Any]) -> DocumentedRoute:
    return DocumentedRoute(path, handler, tag="operations", operation={"responses": responses})


class _Operations:
    def __init__(self, segmenter: Segmenter, metrics: Metrics) -> None:
        self._segmenter = segmenter
        self._metrics = metrics

    async def live(self, _: Request) -> Response:
        """200 while the process is worth keeping; 503 once the engine has died."""
        broken = self._segmenter.broken
        return JSONResponse({"status": "broken" if broken else "live"}, 503 if broken else 200)

    async def ready(self, _: Request) -> Response:
        """200 when models are verified and warm and the server is not stopping."""
        ready = self._segmenter.ready
        return JSONResponse({"status": "ready" if ready else self._segmenter.state.value}, 200 if ready else 503)

    async def prometheus(self, _: Request) -> Response:
        """Prometheus text."""
        return Response(self._metrics.text(), media_type=_METRICS_TYPE)

    async def health_live(self, _: Request) -> Response:
        """The same as `/healthz/live`, as NIM says it."""
        broken = self._segmenter.broken
        return _health_response("broken" if broken else "live", 503 if broken else 200)

    async def health_ready(self, _: Request) -> Response:
        """The same as `/healthz/ready`, as NIM says it."""
        ready = self._segmenter.ready
        return _health_response("ready" if ready else self._segmenter.state.value, 200 if ready else 503)

    async def version(self, _: Request) -> Response:
        """The release of the server and the version of its API."""
        return JSONResponse({"release": importlib.metadata.version("geminifusion"), "api": _API_VERSION})

    async def metadata(self, _: Request) -> Response:
        """The release of the server, and the models it has loaded; `/v1/models` says more of them."""
        models = [{"shortName": model.reference, "modelUrl": ""} for model in self._segmenter.models]
        return JSONResponse({"version": importlib.metadata.version("geminifusion"), "modelInfo": models})


def _health_response(status: str, code: int) -> Response:
    document = {"object": "health.response", "message": f"The service is {status}.", "status": status}
    return JSONResponse(document, code)
