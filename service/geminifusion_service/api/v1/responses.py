"""Responses and errors of /v1 over HTTP."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from geminifusion_runtime import strict_json
from geminifusion_runtime.encoding.class_shares import ClassShare
from geminifusion_runtime.encoding.masks import MEDIA_TYPES
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.observability.request_context import current_request_context
from geminifusion_service.request import SegmentResponse, TaskResponse

# Run lengths and maps shrink to a half or less; images are compressed already, and small responses not worth the time.
_MIN_GZIP_BYTES, _GZIP_LEVEL, _GZIP_WINDOW = 1024, 1, 31


def error_response(error: GeminiFusionError, request_id: str) -> Response:
    """The error as application/problem+json (RFC 9457), with the trace of the request where it is part of one."""
    status = error.http_status
    document = {
        "type": f"urn:geminifusion:error:{error.code}",
        "title": error.title,
        "status": int(status),
        "detail": str(error),
        "code": error.code,
        "request_id": request_id,
    }
    if trace_id := current_request_context().trace_id:
        document["trace_id"] = trace_id
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Response(strict_json.dumps(document), int(status), headers, "application/problem+json")


def cacheable_json(request: Request, facts: Mapping[str, Any]) -> Response:
    """JSON with an ETag; 304 for a client that has it already (RFC 9110, sections 8.8.3 and 13.1.2)."""
    content = strict_json.dumps(facts).encode()
    tag = _tag(content)
    named = ",".join(request.headers.getlist("if-none-match"))
    known = [one.strip().removeprefix("W/") for one in named.split(",")]
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # clients ask each time whether it has changed
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, "application/json")


def _tag(content: bytes | memoryview) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def common_headers(response: TaskResponse) -> dict[str, str]:
    """What the headers of every task's response say."""
    headers = {
        "X-Request-Id": response.request_id,
        "X-Geminifusion-Model": response.model,
        "X-Geminifusion-Size": f"{response.width}x{response.height}",
        "X-Geminifusion-Batch-Size": str(response.batch_size),
    }
    for stage, milliseconds in vars(response.timings).items():
        headers[f"X-Geminifusion-{stage.capitalize()}-Ms"] = f"{milliseconds:.3f}"
    headers["Server-Timing"] = ", ".join(
        f"{timing.stage};dur={1000 * timing.seconds:.3f}" for timing in response.timeline.stages
    )
    headers["X-Geminifusion-Sensors"] = "; ".join(
        f"{name} holes={one.holes:.4g} saturated={one.saturated:.4g} noise={one.noise:.4g}"
        for name, one in response.sensors.items()
    )
    if response.warnings:
        # JSON, in ASCII: sentences have semicolons and commas of their own.
        headers["X-Geminifusion-Warnings"] = strict_json.dumps(response.warnings)
    return headers


def file_response(content: bytes, headers: dict[str, str], media_type: str) -> Response:
    """A result that is a file, which clients may keep by its ETag."""
    headers["Vary"] = "Accept"
    headers["ETag"] = _tag(content)
    return Response(content, 200, headers, media_type)


def segment_response(response: SegmentResponse, *, accepts_gzip: bool = False) -> Response:
    """The mask as a file and all else in X-Geminifusion-* headers, or everything as JSON, compressed where it pays."""
    assert response.format is not None, "a query always has a format"
    headers = common_headers(response)
    if response.classes and response.format != "json":
        headers["X-Geminifusion-Classes"] = "; ".join(map(_share_text, response.classes))
    if response.format == "json":
        content = strict_json.dumps(response_document(response)).encode()
        if accepts_gzip and len(content) >= _MIN_GZIP_BYTES:
            content = isal_zlib.compress(content, _GZIP_LEVEL, wbits=_GZIP_WINDOW)
            headers["Content-Encoding"] = "gzip"
        headers["Vary"] = "Accept, Accept-Encoding"
        return Response(content, 200, headers, MEDIA_TYPES[response.format])
    # The tag is of the mask alone: the times in JSON differ from one response to the next.
    return file_response(response.mask, headers, MEDIA_TYPES[response.format])


def _share_text(share: ClassShare) -> str:
    """A class by its id: its name may have characters that no header can carry."""
    measured = {"median_depth_m": share.median_depth_m, "nearest_depth_m": share.nearest_depth_m}
    distances = [f"{name}={metres:.4g}" for name, metres in measured.items() if metres is not None]
    return " ".join([f"{share.id} fraction={share.fraction:.4g}", *distances])


def response_document(response: SegmentResponse) -> dict[str, Any]:
    """The response as its JSON format."""
    size = [response.height, response.width]
    facts: dict[str, Any] = {
        "model": response.model,
        "request_id": response.request_id,
        "size": {"height": response.height, "width": response.width},
        "classes": [dataclasses.asdict(share) for share in response.classes],
        "mask": {"rle": [{"class_id": runs.class_id, "size": size, "counts": runs.counts} for runs in response.rle]},
        "timings_ms": {k: round(v, 3) for k, v in vars(response.timings).items()},
        "batch_size": response.batch_size,
        "sensors": {name: vars(health) for name, health in response.sensors.items()},
        "warnings": list(response.warnings),
    }
    if response.confidence is not None:
        facts["confidence"] = _map_document(response.confidence)
    if response.gate is not None:
        facts["gate"] = _map_document(response.gate)
    if response.disagreement is not None:
        facts["disagreement"] = _map_document(response.disagreement)
    if response.modality_weights:
        facts["modality_weights"] = {name: _map_document(one) for name, one in response.modality_weights.items()}
    return facts


def _map_document(values: NDArray[np.float16]) -> dict[str, Any]:
    """A map as its shape and its little-endian bytes, row by row, in base64."""
    data = base64.b64encode(values.astype("<f2", copy=False).tobytes()).decode("ascii")
    return {"shape": list(values.shape), "dtype": "float16", "data": data}
