"""The Open Inference Protocol over HTTP: the paths under /v2."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from geminifusion_runtime.errors import GeminiFusionError, InvalidOptionError
from geminifusion_service.api.open_inference.binary_body import (
    HEADER_LENGTH,
    Parsed,
    parse_header_length,
    parse_request,
    write_response,
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
from geminifusion_service.api.open_inference.schemas import InferenceResponse
from geminifusion_service.api.openapi import DocumentedRoute, Handler
from geminifusion_service.errors import EmptyBodyError, MalformedBodyError, UnsupportedBodyError
from geminifusion_service.pipeline.admission import Ticket
from geminifusion_service.settings import LimitSettings
from geminifusion_service.transport.http.body import cancel_on_disconnect, read_body

PREFIX = "/v2"
_TRANSPORT = "oip-http"
_LARGE_JSON = 64 * 1024  # bytes, beyond which reading or writing it would keep the event loop from others
_MAX_CONTROL_BODY = 64 * 1024
_UNLOAD_DEPENDENTS = "unload_dependents"  # Triton's clients always send it; there are no dependents here


def error_response(error: GeminiFusionError, request_id: str) -> Response:
    """An error as clients of the protocol read it."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    content = to_json({"error": str(error), "code": error.code, "request_id": request_id})
    return Response(content, int(error.http_status), headers, "application/json")


def is_open_inference(path: str) -> bool:
    """Whether errors of a path are to be answered as `error_response` does."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def _infer_handler(open_inference: OpenInference, limits: LimitSettings) -> Handler:

    async def infer(request: Request) -> Response:
        """Segment a batch of images."""
        with open_inference.counted(_TRANSPORT, request.state.request_id):
            return await _infer(request)

    async def _infer(request: Request) -> Response:
        name, version = _model(request)
        # Before a body of megabytes is read.
        with open_inference.admit(name, version, body_bytes=request.state.content_length) as ticket:
            return await _infer_admitted(request, name, version, ticket)

    async def _infer_admitted(request: Request, name: str, version: str | None, ticket: Ticket) -> Response:
        _check_content(request)
        body = await _body(request, limits, limits.max_body_bytes)
        header_length = parse_header_length(request.headers.get(HEADER_LENGTH), len(body))
        input_names = open_inference.input_names(name, version)

        def parse() -> Parsed:
            return parse_request(body, header_length, model_name=name, model_version=version, input_names=input_names)

        json_length = len(body) if header_length is None else header_length
        parsed = await asyncio.to_thread(parse) if json_length > _LARGE_JSON else parse()
        work = open_inference.infer(parsed.request, request_id=request.state.request_id, ticket=ticket)
        response = await cancel_on_disconnect(request, work)
        return await _written(response, parsed)

    return infer


def open_inference_routes(open_inference: OpenInference, limits: LimitSettings) -> list[DocumentedRoute]:
    """Every path under /v2. Errors are raised for the application to handle."""
    routes: list[DocumentedRoute] = []

    def route(
        path: str,
        handler: Handler,
        *,
        method: str = "GET",
        admission: str | None = None,
        **operation: Any,  # noqa: ANN401 - OpenAPI
    ) -> None:
        operation_id = f"{handler.__name__}_{method}_{path}".translate(_IDENTIFIER)
        routes.append(
            DocumentedRoute(
                PREFIX + path,
                handler,
                method=method,
                tag="open inference",
                operation={"operationId": operation_id, "responses": RESPONSES, **operation},
                admission=admission,
            )
        )

    def model_route(path: str, handler: Handler, **details: Any) -> None:  # noqa: ANN401
        route(f"/models/{{name}}{path}", handler, **details)
        route(f"/models/{{name}}/versions/{{version}}{path}", handler, **details)

    async def server_metadata(_: Request) -> Response:
        """Who answers, and which extensions of the protocol it speaks."""
        return _json(open_inference.server_metadata())

    async def live(_: Request) -> Response:
        """200 while the process is worth keeping."""
        return _json({"live": open_inference.live}, 200 if open_inference.live else 503)

    async def ready(_: Request) -> Response:
        """200 when requests should be sent here."""
        return _json({"ready": open_inference.ready}, 200 if open_inference.ready else 503)

    async def model_ready(request: Request) -> Response:
        """200 when this model answers."""
        name, version = _model(request)
        is_ready = open_inference.model_ready(name, version)
        return _json({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    async def model_metadata(request: Request) -> Response:
        """Names, datatypes and shapes of the tensors; -1 is any size."""
        return _json(open_inference.model_metadata(*_model(request)))

    async def model_config(request: Request) -> Response:
        """The same as Triton's model configuration."""
        return _json(open_inference.model_config(*_model(request)))

    async def model_statistics(request: Request) -> Response:
        """Totals of one model since the server started."""
        return _json(open_inference.model_statistics(*_model(request)))

    async def all_statistics(_: Request) -> Response:
        """Totals of every loaded model since the server started."""
        return _json(open_inference.model_statistics(None, None))

    async def index(request: Request) -> Response:
        """Every version of every model this server knows of."""
        asked = await _control_parameters(request, limits)
        ready_only = asked.get("ready", False)
        if not isinstance(ready_only, bool):
            raise InvalidOptionError(f"ready is {str(ready_only)[:100]!r}, expected true or false")
        return _json(await open_inference.index(ready_only=ready_only))

    async def load(request: Request) -> Response:
        """Load a model of the repository, or load it again."""
        asked = await _control_parameters(request, limits)
        if asked.get("parameters"):
            raise InvalidOptionError("a model is loaded as the repository has it; send no parameters")
        await open_inference.load(request.path_params["name"])
        return _json({})

    async def unload(request: Request) -> Response:
        """Unload a model once its requests are answered."""
        parameters = (await _control_parameters(request, limits)).get("parameters") or {}
        if not isinstance(parameters, dict) or set(parameters) - {_UNLOAD_DEPENDENTS}:
            raise InvalidOptionError(f"unloading takes no parameters but {_UNLOAD_DEPENDENTS}")
        await open_inference.unload(request.path_params["name"])
        return _json({})

    # First, because routes are tried one by one and this is the one under load.
    infer = _infer_handler(open_inference, limits)
    model_route("/infer", infer, method="POST", admission=_TRANSPORT, **INFER_OPERATION)
    route("", server_metadata)
    route("/health/live", live, **STATE_OPERATION)
    route("/health/ready", ready, **STATE_OPERATION)
    route("/models/stats", all_statistics)
    model_route("", model_metadata)
    model_route("/ready", model_ready, **STATE_OPERATION)
    model_route("/config", model_config)
    model_route("/stats", model_statistics)
    route("/repository/index", index, method="POST", **INDEX_OPERATION)
    route("/repository/models/{name}/load", load, method="POST", **LOAD_OPERATION)
    route("/repository/models/{name}/unload", unload, method="POST", **UNLOAD_OPERATION)
    return routes


_IDENTIFIER = {ord(character): "_" for character in "/{}"}


def _json(document: object, status: int = 200) -> Response:
    return Response(to_json(document), status, media_type="application/json")


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


async def _control_parameters(request: Request, limits: LimitSettings) -> dict[str, Any]:
    """The JSON object of a repository request, which may be left out."""
    try:
        body = await _body(request, limits, _MAX_CONTROL_BODY)
    except EmptyBodyError:
        return {}
    try:
        document = from_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise MalformedBodyError("the body is no JSON object; send one, or nothing")
    return document


async def _written(response: InferenceResponse, parsed: Parsed) -> Response:
    def write() -> tuple[bytes, int | None]:
        return write_response(response, parsed)

    pixels = sum(tensor.array.size for tensor in response.outputs if tensor.array is not None)
    slow = pixels > _LARGE_JSON and not parsed.binary_by_default
    content, header_length = await asyncio.to_thread(write) if slow else write()
    headers = {} if header_length is None else {HEADER_LENGTH: str(header_length)}
    return Response(content, 200, headers, "application/json" if header_length is None else "application/octet-stream")
