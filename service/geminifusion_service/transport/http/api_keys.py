"""API keys over HTTP: decided on the head of a request, before its body is read."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import UnauthenticatedError
from geminifusion_service.observability.request_context import current_request_context, set_request_context
from geminifusion_service.pipeline.telemetry import Records
from geminifusion_service.security.api_keys import AccessControl, Role

Refuse = Callable[[str, GeminiFusionError, str], Response]

# A load balancer has no key, and what tells that a server lives tells nothing else.
_OPEN = ("/healthz", "/v2/health/")
_CHANGES_MODELS = ("/v1/repository/models/", "/v2/repository/models/")


class RequireKey:
    """ASGI middleware: 401, 403 or 429 for a request that `access` does not let through.

    Args:
        refuse: makes the answer from the path, the error and the request id.
        records: are told of refusals.
        open_metrics: whether `/metrics` needs no key, for a Prometheus on a network of its own.
    """

    def __init__(
        self, app: ASGIApp, access: AccessControl, refuse: Refuse, records: Records, *, open_metrics: bool
    ) -> None:
        self._app = app
        self._access = access
        self._refuse = refuse
        self._records = records
        self._open_metrics = open_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one ASGI call; a WebSocket that is refused is not opened, and its client gets the same answer."""
        if scope["type"] not in ("http", "websocket") or not self._access.asks_for_keys or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            principal = self._access.check(headers, role=role_for(scope["path"], scope.get("method", "GET")))
        except GeminiFusionError as error:
            self._records.failed(error, time.monotonic())
            await self._answer(error, scope, receive, send)
            return
        set_request_context(dataclasses.replace(current_request_context(), principal=principal.name))
        await self._app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path.startswith(_OPEN) or path == "/v2" or (self._open_metrics and path == "/metrics")

    async def _answer(self, error: GeminiFusionError, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._refuse(scope["path"], error, scope.get("state", {}).get("request_id", ""))
        if isinstance(error, UnauthenticatedError):
            response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, send)


def role_for(path: str, method: str) -> Role:
    """The role a request needs: changing models is an operator's business, everything else a client's."""
    return "admin" if method not in ("GET", "HEAD") and path.startswith(_CHANGES_MODELS) else "segment"
