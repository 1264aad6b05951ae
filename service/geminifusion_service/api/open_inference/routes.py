"""The Open Inference Protocol over HTTP: the paths under /v2."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_service.api.open_inference.binary_body import (
    HEADER_LENGTH,
    ParsedRequest,
    parse_header_length,
    parse_request,
)
from geminifusion_service.api.open_inference.inference import OpenInference
from geminifusion_service.api.open_inference.openapi import (
    INDEX_OPERATION,
    INFER_OPERATION,
    LOAD_OPERATION,
    RESPONSES,
    STATE_OPERATION,
    UNLOAD_OPERATION,
)
from geminifusion_service.api.open_inference.responses import LARGE_JSON, infer_response, json_response
from geminifusion_service.api.openapi import DocumentedRoute, Handler
from geminifusion_service.errors import EmptyBodyError, MalformedBodyError, UnsupportedBodyError
from geminifusion_service.pipeline.budget import Holding
from geminifusion_service.settings import LimitSettings
from geminifusion_service.transport.http.body import cancel_on_disconnect, holding_of, read_body
from geminifusion_service.transport.http.json_body import parse_json

PREFIX = "/v2"
TRANSPORT = "oip-http"
_MAX_CONTROL_BODY = 64 * 1024
_UNLOAD_DEPENDENTS = "unload_dependents"  # Triton's clients always send it; there are no dependents here
_IDENTIFIER = {ord(character): "_" for character in "/{}"}


def is_open_inference(path: str) -> bool:
    """Whether a path belongs to this protocol, so that its errors are those of its clients."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def open_inference_routes(open_inference: OpenInference, limits: LimitSettings) -> list[DocumentedRoute]:
    """Every path under /v2. Errors are raised for the application to handle."""
    inference = _Inference(open_inference, limits)
    server, models = _Server(open_inference), _Models(open_inference)
    repository = _Repository(open_inference, limits)
    return [
        # First, because routes are tried one by one and this is the one under load.
        *_model_routes("/infer", inference.infer, method="POST", admission=TRANSPORT, **INFER_OPERATION),
        _route("", server.server_metadata),
        _route("/health/live", server.live, **STATE_OPERATION),
        _route("/health/ready", server.ready, **STATE_OPERATION),
        _route("/models/stats", models.all_statistics),
        *_model_routes("", models.model_metadata),
        *_model_routes("/ready", models.model_ready, **STATE_OPERATION),
        *_model_routes("/config", models.model_config),
        *_model_routes("/stats", models.model_statistics),
        _route("/repository/index", repository.index, method="POST", **INDEX_OPERATION),
        _route("/repository/models/{name}/load", repository.load, method="POST", **LOAD_OPERATION),
        _route("/repository/models/{name}/unload", repository.unload, method="POST", **UNLOAD_OPERATION),
    ]


def _model_routes(path: str, handler: Handler, **details: Any) -> list[DocumentedRoute]:  # noqa: ANN401
    """The route of a path of every model, without and with its version."""
    prefixes = ("/models/{name}", "/models/{name}/versions/{version}")
    return [_route(prefix + path, handler, **details) for prefix in prefixes]


def _route(
    path: str,
    handler: Handler,
    *,
    method: str = "GET",
    admission: str | None = None,
    **operation: Any,  # noqa: ANN401 - OpenAPI
) -> DocumentedRoute:
    operation_id = f"{handler.__name__}_{method}_{path}".translate(_IDENTIFIER)
    return DocumentedRoute(
        PREFIX + path,
        handler,
        method=method,
        tag="open inference",
        operation={"operationId": operation_id, "responses": RESPONSES, **operation},
        admission=admission,
    )


class _Inference:
    def __init__(self, open_inference: OpenInference, limits: LimitSettings) -> None:
        self._open_inference = open_inference
        self._limits = limits

    async def infer(self, request: Request) -> Response:
        """Segment a batch of images."""
        name, version = _model(request)
        with (
            self._open_inference.counted(TRANSPORT, request.state.request_id),
            # Before a body of megabytes is read.
            self._open_inference.admit(
                name, version, body_bytes=request.state.content_length, holding=holding_of(request)
            ) as ticket,
        ):
            parsed = await self._read(request, name, version, ticket.holding)
            work = self._open_inference.infer(parsed.request, request_id=request.state.request_id, ticket=ticket)
            return await infer_response(await cancel_on_disconnect(request, work), parsed)

    async def _read(self, request: Request, name: str, version: str | None, holding: Holding) -> ParsedRequest:
        _check_content(request)
        body = await _body(request, self._limits, self._limits.max_body_bytes)
        header_length = parse_header_length(request.headers.get(HEADER_LENGTH), len(body))
        input_names = self._open_inference.input_names(name, version)

        json_length = len(body) if header_length is None else header_length

        def parse() -> ParsedRequest:
            holding.take(elements=body.count(b",", 0, json_length))
            return parse_request(
                body,
                header_length,
                model_name=name,
                model_version=version,
                input_names=input_names,
                max_json_values=self._limits.max_json_values,
            )

        return await asyncio.to_thread(parse) if json_length > LARGE_JSON else parse()


class _Server:
    def __init__(self, open_inference: OpenInference) -> None:
        self._open_inference = open_inference

    async def server_metadata(self, _: Request) -> Response:
        """Name and version of the server, and the extensions of the protocol it supports."""
        return json_response(self._open_inference.server_metadata())

    async def live(self, _: Request) -> Response:
        """200 while the process works; 503 once only a restart helps."""
        live = self._open_inference.live
        return json_response({"live": live}, 200 if live else 503)

    async def ready(self, _: Request) -> Response:
        """200 when the server accepts requests."""
        ready = self._open_inference.ready
        return json_response({"ready": ready}, 200 if ready else 503)


class _Models:
    def __init__(self, open_inference: OpenInference) -> None:
        self._open_inference = open_inference

    async def model_ready(self, request: Request) -> Response:
        """200 when this model accepts requests."""
        name, version = _model(request)
        ready = self._open_inference.model_ready(name, version)
        return json_response({"name": name, "ready": ready}, 200 if ready else 503)

    async def model_metadata(self, request: Request) -> Response:
        """Names, datatypes and shapes of the tensors; -1 is any size."""
        return json_response(self._open_inference.model_metadata(*_model(request)))

    async def model_config(self, request: Request) -> Response:
        """The same as Triton's model configuration."""
        return json_response(self._open_inference.model_config(*_model(request)))

    async def model_statistics(self, request: Request) -> Response:
        """Totals of one model since the server started."""
        return json_response(self._open_inference.model_statistics(*_model(request)))

    async def all_statistics(self, _: Request) -> Response:
        """Totals of every loaded model since the server started."""
        return json_response(self._open_inference.model_statistics(None, None))


class _Repository:
    """What an operator may do to the models; API keys decide who is one."""

    def __init__(self, open_inference: OpenInference, limits: LimitSettings) -> None:
        self._open_inference = open_inference
        self._limits = limits

    async def index(self, request: Request) -> Response:
        """Every version of every model this server knows of."""
        ready_only = (await self._document(request)).get("ready", False)
        if not isinstance(ready_only, bool):
            raise InvalidOptionError(f"ready is {str(ready_only)[:100]!r}, expected true or false")
        return json_response(await self._open_inference.index(ready_only=ready_only))

    async def load(self, request: Request) -> Response:
        """Load a model of the repository, or load it again."""
        if (await self._document(request)).get("parameters"):
            raise InvalidOptionError("a model is loaded as the repository has it; send no parameters")
        await self._open_inference.load(request.path_params["name"])
        return json_response({})

    async def unload(self, request: Request) -> Response:
        """Unload a model once its requests are finished."""
        parameters = (await self._document(request)).get("parameters") or {}
        if not isinstance(parameters, dict) or set(parameters) - {_UNLOAD_DEPENDENTS}:
            raise InvalidOptionError(f"unloading takes no parameters but {_UNLOAD_DEPENDENTS}")
        await self._open_inference.unload(request.path_params["name"])
        return json_response({})

    async def _document(self, request: Request) -> dict[str, Any]:
        """The JSON object in the body, which may be left out."""
        try:
            body = await _body(request, self._limits, _MAX_CONTROL_BODY)
        except EmptyBodyError:
            return {}
        document = parse_json(body, max_values=_MAX_CONTROL_BODY)
        if not isinstance(document, dict):
            raise MalformedBodyError("the body is no JSON object; send one, or nothing")
        return document


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["name"], request.path_params.get("version")


def _check_content(request: Request) -> None:
    if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
        raise UnsupportedBodyError(f"the content encoding is {encoding[:50]!r}; send the body as it is")
    if (kind := request.headers.get("content-type", "")).startswith("multipart/"):
        raise UnsupportedBodyError(f"the content type is {kind[:50]!r}; send JSON, or JSON and binary tensors")


async def _body(request: Request, limits: LimitSettings, max_bytes: int) -> bytes:
    try:
        return await read_body(request, max_bytes=max_bytes, timeout_s=limits.body_timeout_s)
    except EmptyBodyError:
        raise EmptyBodyError("the body is empty; send an inference request in JSON") from None
