"""Responses and errors of the Open Inference Protocol over HTTP."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from geminifusion_runtime import strict_json
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.api.open_inference.binary_body import HEADER_LENGTH, ParsedRequest, write_response
from geminifusion_service.api.open_inference.schemas import InferenceResponse

LARGE_JSON = 64 * 1024  # bytes or values that take so long to read or write that the event loop would have to wait


def error_response(error: GeminiFusionError, request_id: str) -> Response:
    """The error as JSON, as clients of the protocol read it."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    content = strict_json.dumps({"error": str(error), "code": error.code, "request_id": request_id})
    return Response(content, int(error.http_status), headers, "application/json")


def json_response(document: object, status: int = 200) -> Response:
    """A JSON document."""
    return Response(strict_json.to_bytes(document), status, media_type="application/json")


async def infer_response(response: InferenceResponse, parsed: ParsedRequest) -> Response:
    """The outputs in the form that the request wants them: JSON, followed by the bytes of tensors."""

    def write() -> tuple[bytes, int | None]:
        return write_response(response, parsed)

    pixels = sum(tensor.array.size for tensor in response.outputs if tensor.array is not None)
    slow = pixels > LARGE_JSON and not parsed.binary_by_default
    content, header_length = await asyncio.to_thread(write) if slow else write()
    headers = {} if header_length is None else {HEADER_LENGTH: str(header_length)}
    return Response(content, 200, headers, "application/json" if header_length is None else "application/octet-stream")
