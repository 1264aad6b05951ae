"""Operations of the paths under /v2 in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from geminifusion_service.api.open_inference.task_tensors import ALL_OUTPUT_NAMES
from geminifusion_service.api.open_inference.tensors import BYTES, DTYPES
from geminifusion_service.errors import ERRORS

_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": kind} for kind in ("string", "number", "boolean")]},
}
_TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "enum": [BYTES, *DTYPES]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "parameters": _PARAMETERS,
        "data": {"type": "array", "items": {}, "description": "flat or nested; files of BYTES as base64"},
    },
}
_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string", "enum": list(ALL_OUTPUT_NAMES)}, "parameters": _PARAMETERS},
            },
        },
    },
}
_RESPONSE: dict[str, Any] = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "code": {"type": "string"}, "request_id": {"type": "string"}},
}
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}

_ERRORS: dict[str, Any] = {
    str(status): {
        "description": ", ".join(sorted(code for code, error in ERRORS.items() if error.http_status == status)),
        "content": {"application/json": {"schema": _ERROR}},
    }
    for status in sorted({int(error.http_status) for error in ERRORS.values()})
}

_DOCUMENT: dict[str, Any] = {"description": "JSON", "content": {"application/json": {"schema": {}}}}
RESPONSES: dict[str, Any] = {"200": _DOCUMENT, **_ERRORS}
STATE_OPERATION: dict[str, Any] = {"responses": {**RESPONSES, "503": {**_DOCUMENT, "description": "no"}}}


def _control_operation(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}}


INDEX_OPERATION = _control_operation(
    {"ready": {"type": "boolean", "description": "only what is ready"}, "repository_name": {"type": "string"}}
)
LOAD_OPERATION = _control_operation({"parameters": {"type": "object", "additionalProperties": False}})
UNLOAD_OPERATION = _control_operation(
    {
        "parameters": {
            "type": "object",
            "properties": {"unload_dependents": {"type": "boolean"}},
            "additionalProperties": False,
        }
    }
)

INFER_OPERATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST},
            "application/octet-stream": {
                "schema": _BINARY | {"description": "JSON of Inference-Header-Content-Length bytes, then the tensors"}
            },
        },
    },
    "responses": {
        "200": {
            "description": "The tensors asked for",
            "content": {
                "application/json": {"schema": _RESPONSE},
                "application/octet-stream": {"schema": _BINARY},
            },
        },
        **_ERRORS,
    },
}
