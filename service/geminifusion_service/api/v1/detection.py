"""`POST /v1/detect` over HTTP: its query, its responses, and its operation in the OpenAPI document."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from geminifusion_runtime import strict_json
from geminifusion_runtime.detection.results import boxes_document
from geminifusion_runtime.tasks.detection.encoding import MEDIA_TYPES
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS, DetectionFormat, DetectOptions
from geminifusion_service.api.v1.openapi import BINARY, ERROR_RESPONSES, query_options
from geminifusion_service.api.v1.query import query_values, ranked_first
from geminifusion_service.api.v1.responses import common_headers, file_response
from geminifusion_service.request import DetectResponse

# By media type; image/png, which the view from above shares, means the drawn image.
_FORMATS: dict[str, DetectionFormat] = {
    "application/json": "json",
    "text/plain": "kitti",
    "image/png": "overlay",
}


def detect_options_from_query(
    pairs: Sequence[tuple[str, str]], *, request_id: str, accept: str | None
) -> DetectOptions:
    """The options of a request.

    Args:
        pairs: names and values in the query string.
        request_id: for a query that names none.
        accept: the header of that name, which decides on the format where the query does not.

    Raises:
        InvalidOptionError: an unknown name, one that comes twice, or a value that does not parse or is out of range.
    """
    values = query_values(pairs, request_id=request_id)
    if "format" not in values:
        values["format"] = ranked_first(accept, _FORMATS, default="json")
    return DETECT_OPTIONS.parse_text(values)


def detect_response(response: DetectResponse) -> Response:
    """The boxes as JSON, as KITTI's text or drawn; all else in X-Geminifusion-* headers too."""
    assert response.format is not None, "a query always has a format"
    headers = common_headers(response)
    headers["X-Geminifusion-Boxes"] = str(len(response.found))
    headers["Vary"] = "Accept"
    if response.format != "json":
        return file_response(response.file, headers, MEDIA_TYPES[response.format])
    content = strict_json.to_bytes(detection_document(response))
    return Response(content, 200, headers, MEDIA_TYPES["json"])


def detection_document(response: DetectResponse) -> dict[str, Any]:
    """The response as its JSON format."""
    return {
        "model": response.model,
        "request_id": response.request_id,
        "size": {"height": response.height, "width": response.width},
        "num_points": response.num_points,
        "grid": dataclasses.asdict(response.grid),
        "classes": list(response.found.class_names),
        "boxes": boxes_document(response.found),
        "timings_ms": {name: round(value, 3) for name, value in vars(response.timings).items()},
        "batch_size": response.batch_size,
        "sensors": {name: vars(health) for name, health in response.sensors.items()},
        "warnings": list(response.warnings),
    }


def _numbers(count: int, description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"type": "number"},
        "minItems": count,
        "maxItems": count,
        "description": description,
    }


_BOX: dict[str, Any] = {
    "type": "object",
    "required": ["class", "class_id", "score", "lidar", "camera", "image"],
    "properties": {
        "class": {"type": "string"},
        "class_id": {"type": "integer"},
        "score": {"type": "number"},
        "lidar": {
            "type": "object",
            "description": "x forward, y left, z up",
            "properties": {
                "center": _numbers(3, "of the bottom, metres"),
                "size": _numbers(3, "length, width, height, metres"),
                "yaw": {"type": "number", "description": "radians, counter-clockwise from x"},
            },
        },
        "camera": {
            "type": "object",
            "description": "x right, y down, z forward; as KITTI's labels",
            "properties": {
                "location": _numbers(3, "of the bottom's centre, metres"),
                "dimensions": _numbers(3, "height, width, length, metres"),
                "rotation_y": {"type": "number", "description": "radians"},
                "alpha": {"type": "number", "description": "radians"},
            },
        },
        "image": _numbers(4, "left, top, right, bottom, pixels"),
    },
}
_RESULT: dict[str, Any] = {
    "type": "object",
    "required": [
        "model",
        "request_id",
        "size",
        "num_points",
        "classes",
        "boxes",
        "timings_ms",
        "batch_size",
        "warnings",
    ],
    "properties": {
        "model": {"type": "string"},
        "request_id": {"type": "string"},
        "size": {"type": "object"},
        "num_points": {"type": "integer", "description": "in the image and the model's range"},
        "grid": {"type": "object", "description": "the model's range: low, high and pillar_size in metres"},
        "classes": {"type": "array", "items": {"type": "string"}},
        "boxes": {"type": "array", "items": _BOX, "description": "the surest first"},
        "timings_ms": {"type": "object"},
        "sensors": {"type": "object", "description": "by modality: holes, saturated, noise, problem"},
        "batch_size": {"type": "integer"},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}
_DESCRIPTIONS = {
    "rgb": "a picture, 8 bits per channel: PNG, JPEG or WebP",
    "points": "little-endian float32 x y z reflectance (KITTI's .bin), or an npy of P x 4 or P x 3 numbers, in metres",
    "calibration": "KITTI's text (P2, R0_rect, Tr_velo_to_cam), or a JSON object with these names",
}


def _parts(schema: dict[str, Any]) -> dict[str, Any]:
    properties = {name: schema | {"description": text} for name, text in _DESCRIPTIONS.items()}
    return {"type": "object", "properties": properties, "required": list(properties)}


DETECT_OPERATION: dict[str, Any] = {
    "parameters": query_options(DETECT_OPTIONS),
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _parts(BINARY)},
            "application/json": {"schema": _parts({"type": "string", "format": "byte"})},
        },
    },
    "responses": {
        "200": {
            "description": "The boxes that the camera sees; X-Geminifusion-* headers carry model and timings",
            "content": {
                "application/json": {"schema": _RESULT},
                "text/plain": {"schema": {"type": "string"}},
                "image/png": {"schema": BINARY},
            },
        },
        **ERROR_RESPONSES,
    },
}
