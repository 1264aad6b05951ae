"""API keys over HTTP: checked on the headers of a request, before its body is read."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import UnauthenticatedError
from geminifusion_service.observability.request_context import current_request_context, set_request_context
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.security.api_keys import AccessControl, Role
from geminifusion_service.transport.http.request_context import ErrorResponse

# Load balancers have no key, and health endpoints reveal nothing else.
_OPEN = ("/healthz", "/v1/health/", "/v2/health/")
_METRICS = ("/metrics", "/v1/metrics")
BEARER_SUBPROTOCOL = "bearer"  # new WebSocket(url, ["bearer", encodeURIComponent(key)]): browsers can set no header
_CHANGES_MODELS = ("/v1/repository/models/", "/v2/repository/models/")


class RequireKey:
    """ASGI middleware inside `RequestContextMiddleware`: 401, 403 or 429 for a request that `access` rejects.

    Args:
        error_response: makes the response to a rejected request.
        telemetry: records rejections.
        is_page: whether a path is a page or a file of one; a browser that opens it has no key yet.
        open_metrics: whether `/metrics` needs no key, for a Prometheus on a network of its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: AccessControl,
        error_response: ErrorResponse,
        telemetry: Telemetry,
        *,
        is_page: Callable[[str], bool],
        open_metrics: bool,
    ) -> None:
        self._app = app
        self._access = access
        self._error_response = error_response
        self._telemetry = telemetry
        self._is_page = is_page
        self._open_metrics = open_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one ASGI call; a rejected WebSocket is not opened, and its client gets the same response."""
        if scope["type"] not in ("http", "websocket") or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        context = current_request_context()
        try:
            headers = {**_key_of_browser(scope), **context.headers}
            principal = self._access.check(headers, role=role_for(scope["path"], scope.get("method", "GET")))
        except GeminiFusionError as error:
            self._telemetry.failed(error, time.monotonic())
            response = self._error_response(scope["path"], error, scope["state"]["request_id"])
            if isinstance(error, UnauthenticatedError):
                response.headers["WWW-Authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        set_request_context(dataclasses.replace(context, principal=principal.name))
        await self._app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        if self._open_metrics and path in _METRICS:
            return True
        return path.startswith(_OPEN) or path == "/v2" or self._is_page(path)


def _key_of_browser(scope: Scope) -> dict[str, str]:
    """The key that a browser's WebSocket offers as a subprotocol after "bearer", as the header it cannot set."""
    match scope.get("subprotocols", ()):
        case (offered, key) if offered == BEARER_SUBPROTOCOL:
            return {"authorization": f"Bearer {unquote_to_bytes(key).decode('latin-1')}"}
    return {}


def role_for(path: str, method: str) -> Role:
    """The role a request needs: admin to change models, segment for everything else."""
    return "admin" if changes_models(path, method) else "segment"


def changes_models(path: str, method: str) -> bool:
    """Whether a request may load or unload models."""
    return method not in ("GET", "HEAD") and path.startswith(_CHANGES_MODELS)
