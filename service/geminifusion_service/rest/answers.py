"""Answers and errors as HTTP responses."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from geminifusion_service.errors import HTTP_STATUS, ServiceError
from geminifusion_service.exchange import SegmentResponse
from geminifusion_service.outputs.masks import MEDIA_TYPES


def problem(error: ServiceError, request_id: str) -> Response:
    """The error as application/problem+json (RFC 9457)."""
    status = HTTP_STATUS[type(error)]
    document = {
        "type": f"urn:geminifusion:error:{error.code}",
        "title": error.title,
        "status": int(status),
        "detail": str(error),
        "code": error.code,
        "request_id": request_id,
    }
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Response(json.dumps(document), int(status), headers, "application/problem+json")


def answer(response: SegmentResponse) -> Response:
    """The mask as a file with the facts in X-Geminifusion-* headers, or everything as JSON."""
    assert response.format is not None, "HTTP always asks for a file"
    headers = {
        "X-Request-Id": response.request_id,
        "X-Geminifusion-Model": response.model,
        "X-Geminifusion-Size": f"{response.width}x{response.height}",
        "X-Geminifusion-Batch-Size": str(response.batch_size),
    }
    for stage, milliseconds in dataclasses.asdict(response.timings).items():
        headers[f"X-Geminifusion-{stage.capitalize()}-Ms"] = f"{milliseconds:.3f}"
    if response.warnings:
        headers["X-Geminifusion-Warnings"] = "; ".join(response.warnings)
    content = json.dumps(document(response)).encode() if response.format == "json" else response.mask
    return Response(content, 200, headers, MEDIA_TYPES[response.format])


def document(response: SegmentResponse) -> dict[str, Any]:
    """The answer as the JSON format has it."""
    size = [response.height, response.width]
    facts: dict[str, Any] = {
        "model": response.model,
        "request_id": response.request_id,
        "size": {"height": response.height, "width": response.width},
        "classes": [dataclasses.asdict(share) for share in response.classes],
        "mask": {"rle": [{"class_id": runs.class_id, "size": size, "counts": runs.counts} for runs in response.rle]},
        "timings_ms": {k: round(v, 3) for k, v in dataclasses.asdict(response.timings).items()},
        "batch_size": response.batch_size,
        "warnings": list(response.warnings),
    }
    if response.confidence is not None:
        facts["confidence"] = plane(response.confidence)
    if response.gate is not None:
        facts["gate"] = plane(response.gate)
    return facts


def plane(values: NDArray[np.float16]) -> dict[str, Any]:
    """A map as its shape and its little-endian bytes, row by row, in base64."""
    data = base64.b64encode(values.astype("<f2", copy=False).tobytes()).decode("ascii")
    return {"shape": list(values.shape), "dtype": "float16", "data": data}
