"""Requests of other web sites that would change something: rejected.

A browser lets every page post to every server, with a form or `fetch`, only not read the response. It says who asks:
`Sec-Fetch-Site`, and `Origin` with every POST. What programs send has neither, and no content type of a form.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import ForbiddenError, UnsupportedBodyError
from geminifusion_service.observability.request_context import current_request_context
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.transport.http.api_keys import changes_models
from geminifusion_service.transport.http.request_context import ErrorResponse

_FORM_TYPES = frozenset(("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))


class RejectCrossSite:
    """ASGI middleware inside `RequestContextMiddleware`: 403 or 415 for a change that a page of another site may send.

    Args:
        origins: web origins that may, beside this server's own.
        error_response: makes the response to a rejected request.
        telemetry: records rejections.
    """

    def __init__(
        self, app: ASGIApp, origins: Collection[str], error_response: ErrorResponse, telemetry: Telemetry
    ) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._error_response = error_response
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one ASGI call."""
        if scope["type"] == "http" and changes_models(scope["path"], scope["method"]):
            error = _problem(current_request_context().headers, self._origins)
            if error is not None:
                self._telemetry.failed(error, time.monotonic())
                response = self._error_response(scope["path"], error, scope["state"]["request_id"])
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _problem(headers: Mapping[str, str], origins: Collection[str]) -> GeminiFusionError | None:
    origin = headers.get("origin")
    if origin is None or origin not in origins:
        same = origin is None or urlsplit(origin).netloc == headers.get("host", "")
        if not same or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return ForbiddenError(
                f"a page of {str(origin)[:200]!r} may not change the models of this server; "
                "name it in --cors-origins to allow it"
            )
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _FORM_TYPES:
        return UnsupportedBodyError(f"the content type is {kind}, which a form sends; send application/json, or none")
    return None
