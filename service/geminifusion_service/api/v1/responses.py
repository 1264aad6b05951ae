"""Answers and errors as HTTP responses."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from geminifusion_runtime.encoding.class_shares import ClassShare
from geminifusion_runtime.encoding.masks import MEDIA_TYPES
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.observability.request_context import current_request_context
from geminifusion_service.request import SegmentResponse

# Run lengths and maps shrink to a half or less; pictures are packed already, and small answers not worth the time.
_WORTH_GZIP, _GZIP_LEVEL, _GZIP_WINDOW = 1024, 1, 31


def problem(error: GeminiFusionError, request_id: str) -> Response:
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
    return Response(json.dumps(document), int(status), headers, "application/problem+json")


def tagged_json(request: Request, facts: Mapping[str, Any]) -> Response:
    """JSON that whoever asks again and again gets only when it has changed (RFC 9110, sections 8.8.3 and 13.1.2)."""
    content = json.dumps(facts).encode()
    tag = _tag(content)
    named = ",".join(request.headers.getlist("if-none-match"))
    known = [one.strip().removeprefix("W/") for one in named.split(",")]
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # ask each time whether it has changed
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, "application/json")


def _tag(content: bytes | memoryview) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def answer(response: SegmentResponse, *, accepts_gzip: bool = False) -> Response:
    """The mask as a file with the facts in X-Geminifusion-* headers, or everything as JSON, packed where that pays."""
    assert response.format is not None, "HTTP always asks for a file"
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
    if response.classes and response.format != "json":
        headers["X-Geminifusion-Classes"] = "; ".join(map(_share_text, response.classes))
    if response.warnings:
        headers["X-Geminifusion-Warnings"] = "; ".join(response.warnings)
    if response.format == "json":
        content = json.dumps(document(response)).encode()
        if accepts_gzip and len(content) >= _WORTH_GZIP:
            content = isal_zlib.compress(content, _GZIP_LEVEL, wbits=_GZIP_WINDOW)
            headers["Content-Encoding"] = "gzip"
        headers["Vary"] = "Accept, Accept-Encoding"
    else:
        content = response.mask
        headers["Vary"] = "Accept"
        # Of the mask alone: the times of a JSON answer differ from one to the next.
        headers["ETag"] = _tag(content)
    return Response(content, 200, headers, MEDIA_TYPES[response.format])


def _share_text(share: ClassShare) -> str:
    """A class by its id, as its name may have characters that no header can carry."""
    measured = {"median_depth_m": share.median_depth_m, "nearest_depth_m": share.nearest_depth_m}
    distances = [f"{name}={metres:.4g}" for name, metres in measured.items() if metres is not None]
    return " ".join([f"{share.id} fraction={share.fraction:.4g}", *distances])


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
        "sensors": {name: vars(health) for name, health in response.sensors.items()},
        "warnings": list(response.warnings),
    }
    if response.confidence is not None:
        facts["confidence"] = plane(response.confidence)
    if response.gate is not None:
        facts["gate"] = plane(response.gate)
    if response.disagreement is not None:
        facts["disagreement"] = plane(response.disagreement)
    return facts


def plane(values: NDArray[np.float16]) -> dict[str, Any]:
    """A map as its shape and its little-endian bytes, row by row, in base64."""
    data = base64.b64encode(values.astype("<f2", copy=False).tobytes()).decode("ascii")
    return {"shape": list(values.shape), "dtype": "float16", "data": data}
