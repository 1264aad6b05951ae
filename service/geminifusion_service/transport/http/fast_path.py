"""The short way to the two paths that carry images.

FastAPI's way to a handler (routing by regular expression, exit stacks, dependencies) takes about a third of the time
that the event loop spends on a request. These paths have none of what it is for; their routes in the application remain
for the OpenAPI document, and lead to the same handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from geminifusion_runtime.errors import GeminiFusionError

Handler = Callable[[Request], Awaitable[Response]]
# What leads to a handler: its parameters from the path, or None if the path is another's.
Match = Callable[[str], Mapping[str, Any] | None]


class HotRoutes:
    """ASGI middleware: POST to a path that one of `routes` matches goes straight to its handler.

    Args:
        refuse: makes the answer from the path, the error and the request id.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: list[tuple[Match, Handler]],
        refuse: Callable[[str, GeminiFusionError, str], Response],
    ) -> None:
        self._app = app
        self._routes = routes
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one ASGI call."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for match, handler in self._routes:
                parameters = match(scope["path"])
                if parameters is not None:
                    scope["path_params"] = dict(parameters)
                    response = await self._answer(handler, Request(scope, receive, send))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _answer(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        except GeminiFusionError as error:
            return self._refuse(request.scope["path"], error, request.state.request_id)


def exactly(path: str) -> Match:
    """Matches one path."""
    return lambda found: {} if found == path else None
