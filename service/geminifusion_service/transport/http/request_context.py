"""The context of HTTP requests, read off their headers once, and the response to a bug."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import NotReadyError, public_error
from geminifusion_service.observability.request_context import RequestContext, set_request_context
from geminifusion_service.pipeline.executor import STOPPED

# From the path, the error and the request id to the response in the format of that path's API.
ErrorResponse = Callable[[str, GeminiFusionError, str], Response]

_MAX_LENGTH_DIGITS = 18
# Of what is no page: whatever it holds, a browser that shows it runs nothing of it.
_NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
_log = logging.getLogger(__name__)


class RequestContextMiddleware:
    """Outermost ASGI middleware: sets the context of each request, and responds to a bug with a clean 500.

    What the connection holds for a request is given back when its response has left.

    `request.state` gets `request_id`, which comes back in `X-Request-Id` and which a handler may replace, and
    `content_length`.

    Args:
        error_response: makes the response to a bug.
    """

    def __init__(self, app: ASGIApp, error_response: ErrorResponse) -> None:
        self._app = app
        self._error_response = error_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one ASGI call."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        context = RequestContext.of_http(scope["type"], scope["headers"], scope.get("client"))
        set_request_context(context)
        state = scope.setdefault("state", {})
        state["request_id"] = context.request_id
        state["content_length"] = content_length(context.headers.get("content-length", ""))
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                add_headers(MutableHeaders(scope=message), state["request_id"])
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except (Exception, asyncio.CancelledError) as error:
            public = public_error(error)
            if isinstance(error, asyncio.CancelledError):
                if scope["type"] == "websocket":
                    raise
                # Only a server that stops cancels the task of a request, and it has no use for knowing that it ended.
                public = NotReadyError(STOPPED)
            else:
                _log.exception("request %s failed", state["request_id"])
            if not started:
                response = self._error_response(scope["path"], public, state["request_id"])
                await response(scope, receive, send_with_id)
        finally:
            if (incoming := state.get("incoming")) is not None:
                incoming.holding.close()


def add_headers(headers: MutableHeaders, request_id: str) -> None:
    """Add what every response has."""
    headers["X-Request-Id"] = request_id
    headers.setdefault("Content-Security-Policy", _NO_PAGE)


def content_length(text: str) -> int:
    """Length of the body in bytes as the header `Content-Length` announces it; 0 if it does not."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_LENGTH_DIGITS else 0
