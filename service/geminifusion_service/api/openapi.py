"""The OpenAPI document, put together from the routes that are served."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from geminifusion_runtime import strict_json
from geminifusion_runtime.tasks.registry import TASKS

Handler = Callable[[Request], Awaitable[Response]]

DOCUMENT_PATH, PAGE_PATH = "/openapi.json", "/docs"


class DocumentedRoute(Route):
    """One method of one path, with its operation in the OpenAPI document; GET routes serve HEAD as well.

    Args:
        path: parameters in braces.
        handler: its name and docstring are the summary and the description of the operation.
        method: GET or POST.
        tag: group of the operation.
        operation: the rest of it, such as `requestBody` and `responses`; wins over what is derived.
        of_models: what of the operation depends on the models that are loaded when the document is asked for; lists of
            it are added to those of `operation`.
        admission: the transport that metrics count its requests under, if they need admission; else None.
    """

    def __init__(
        self,
        path: str,
        handler: Handler,
        *,
        method: str = "GET",
        tag: str,
        operation: Mapping[str, Any],
        of_models: Callable[[], Mapping[str, Any]] | None = None,
        admission: str | None = None,
    ) -> None:
        super().__init__(path, handler, methods=[method])
        self.method = method.lower()
        self.admission = admission
        self.operation: dict[str, Any] = {
            "tags": [tag],
            "summary": self.name.replace("_", " ").title(),
            "description": inspect.getdoc(handler),
            "operationId": re.sub(r"\W", "_", f"{self.name}{path}_{self.method}"),
            **operation,
        }
        if parameters := _path_parameters(path):
            self.operation["parameters"] = [*parameters, *operation.get("parameters", ())]
        self._of_models = of_models

    def current_operation(self) -> dict[str, Any]:
        """The operation with what follows from the models that are loaded now."""
        operation = dict(self.operation)
        for key, value in (self._of_models() if self._of_models is not None else {}).items():
            operation[key] = [*operation.get(key, ()), *value] if isinstance(value, list) else value
        return operation


def openapi_document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The document of all routes that are a `DocumentedRoute`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if isinstance(route, DocumentedRoute):
            paths.setdefault(route.path, {})[route.method] = route.current_operation()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "geminifusion",
            "summary": "One scene by up to four sensors in, segmentation mask out.",
            "version": "1",
        },
        "paths": paths,
        "tags": [
            *({"name": task.verb} for task in TASKS.values()),
            {"name": "models"},
            {"name": "operations"},
            {"name": "open inference"},
        ],
    }


def document_route(routes: Iterable[BaseRoute]) -> Route:
    """The document of these routes; the page at `PAGE_PATH` shows it."""
    routes = list(routes)

    async def openapi(_: Request) -> Response:
        return Response(strict_json.dumps(openapi_document(routes)), media_type="application/json")

    return Route(DOCUMENT_PATH, openapi)


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
