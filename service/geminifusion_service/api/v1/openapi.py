"""Operations of the paths under /v1 in the OpenAPI document, as far as they are the same for all models."""

from __future__ import annotations

from typing import Any

from geminifusion_runtime.encoding.masks import MEDIA_TYPES
from geminifusion_runtime.option_sets import OptionSet
from geminifusion_runtime.options import SEGMENT_OPTIONS
from geminifusion_service.errors import ERRORS

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what came, what was expected, what to do"},
        "code": {"type": "string", "enum": sorted(ERRORS)},
        "request_id": {"type": "string"},
        "trace_id": {"type": "string", "description": "W3C, where the request is part of a trace"},
    },
}

_ERROR_STATUSES = sorted({error.http_status for error in ERRORS.values()})


def _problem_response(status: int) -> dict[str, Any]:
    codes = sorted(code for code, error in ERRORS.items() if error.http_status == status)
    return {
        "description": ", ".join(codes),
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }


ERROR_RESPONSES: dict[str, Any] = {str(int(status)): _problem_response(status) for status in _ERROR_STATUSES}
_JSON: dict[str, Any] = {"description": "as JSON", "content": {"application/json": {"schema": {"type": "object"}}}}
_NOT_MODIFIED = {"304": {"description": "not changed since the ETag in If-None-Match"}}
MODELS_OPERATION: dict[str, Any] = {"responses": {"200": _JSON, **_NOT_MODIFIED}}
MODEL_OPERATION: dict[str, Any] = {"responses": {"200": _JSON, **_NOT_MODIFIED, "404": _problem_response(404)}}
_STATUSES = {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}}
_VERSIONS: dict[str, Any] = {
    "description": "name, version, state and reason of each version",
    "content": {"application/json": {"schema": {"type": "object", "properties": {"models": _STATUSES}}}},
}
INDEX_OPERATION: dict[str, Any] = {"responses": {"200": _VERSIONS}}
CONTROL_OPERATION: dict[str, Any] = {
    "responses": {"200": _VERSIONS, **{str(status): _problem_response(status) for status in (403, 404, 409)}}
}


def query_options(options: OptionSet[Any]) -> list[dict[str, Any]]:
    """The options as parameters of a query."""
    parameters = []
    for name, schema in options.schemas().items():
        description = schema.pop("description")
        if name == "format":
            description += "; without it, the type that Accept ranks first"
        option = {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
        if schema["type"] == "array":
            option |= {"style": "form", "explode": False}
        parameters.append(option)
    return parameters


BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_RESULT: dict[str, Any] = {
    "type": "object",
    "required": ["model", "request_id", "size", "classes", "mask", "timings_ms", "batch_size", "warnings"],
    "properties": {
        "model": {"type": "string"},
        "request_id": {"type": "string"},
        "size": {"type": "object"},
        "classes": {
            "type": "array",
            "items": {"type": "object"},
            "description": "largest first; with intrinsics each has space",
        },
        "mask": {"type": "object", "description": "rle: COCO compressed run lengths, one entry per class"},
        "confidence": {
            "type": "object",
            "description": "with confidence=1: shape, dtype float16, data base64",
        },
        "gate": {"type": "object", "description": "with gate=1: shape, dtype float16, data base64"},
        "modality_weights": {"type": "object", "description": "with gate=1, of models of more than two: by modality"},
        "disagreement": {"type": "object", "description": "with disagreement=1: shape, dtype float16, data base64"},
        "timings_ms": {"type": "object"},
        "sensors": {"type": "object", "description": "by modality: holes, saturated, noise, problem"},
        "batch_size": {"type": "integer"},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}

SEGMENT_OPERATION: dict[str, Any] = {
    "parameters": query_options(SEGMENT_OPTIONS),
    "responses": {
        "200": {
            "description": "The mask at the size of the posted rgb, or without it of the first modality; "
            "X-Geminifusion-* headers carry model and timings",
            "content": {
                MEDIA_TYPES["png"]: {"schema": BINARY},
                MEDIA_TYPES["npz"]: {"schema": BINARY},
                MEDIA_TYPES["ply"]: {"schema": BINARY},
                MEDIA_TYPES["pcd"]: {"schema": BINARY},
                MEDIA_TYPES["json"]: {"schema": _RESULT},
            },
        },
        **ERROR_RESPONSES,
    },
}
