"""`POST /v1/translate`: its query, its response and its operation in the OpenAPI document."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.translation.encoding import DEPTH_SCALE
from geminifusion_runtime.tasks.translation.options import (
    MEDIA_TYPES,
    TRANSLATE_OPTIONS,
    TranslateOptions,
    TranslationFormat,
)
from geminifusion_service.api.v1.openapi import BINARY, ERROR_RESPONSES, query_options
from geminifusion_service.api.v1.openapi_models import image_operation
from geminifusion_service.api.v1.query import query_values, ranked_first
from geminifusion_service.api.v1.responses import common_headers, file_response
from geminifusion_service.request import TranslateResponse

_FORMATS: dict[str, TranslationFormat] = {media_type: name for name, media_type in MEDIA_TYPES.items()}

TRANSLATE_OPERATION: dict[str, Any] = {
    "parameters": query_options(TRANSLATE_OPTIONS),
    "responses": {
        "200": {
            "description": "The image at the size of the posted rgb, or without it of the first input; "
            "X-Geminifusion-Domain says what it shows, X-Geminifusion-Depth-Scale the metres per unit of a depth PNG",
            "content": {media_type: {"schema": BINARY} for media_type in MEDIA_TYPES.values()},
        },
        **ERROR_RESPONSES,
    },
}


def translate_options_from_query(
    pairs: Sequence[tuple[str, str]], *, request_id: str, accept: str | None
) -> TranslateOptions:
    """The options of a request; see `options_from_query`.

    Raises:
        InvalidOptionError: an unknown name, one that comes twice, or a value that does not parse or is out of range.
    """
    values = query_values(pairs, request_id=request_id)
    if "format" not in values:
        values["format"] = ranked_first(accept, _FORMATS, default="png")
    return TRANSLATE_OPTIONS.parse_text(values)


def translate_response(response: TranslateResponse) -> Response:
    """The image as a file, and all else in X-Geminifusion-* headers."""
    assert response.format is not None, "a query always has a format"
    headers = common_headers(response)
    headers["X-Geminifusion-Domain"] = response.domain
    if response.output.ndim == 2 and response.format == "png":
        headers["X-Geminifusion-Depth-Scale"] = str(DEPTH_SCALE)
    return file_response(response.file, headers, MEDIA_TYPES[response.format])


def translate_operation(models: Sequence[Model]) -> dict[str, Any]:
    """Request body, options of inputs, and an example for each model; see `segment_operation`."""
    return image_operation(models) | {"x-codeSamples": [_sample(model.metadata) for model in models]}


def _sample(model: ArtifactMetadata) -> dict[str, str]:
    parts = " ".join(f"-F {shlex.quote(f'{spec.name}=@{spec.name}.png')}" for spec in model.modalities)
    return {
        "lang": "Shell",
        "label": f"curl, {model.reference}",
        "source": f"curl {parts} 'http://localhost:8000/v1/translate?model={model.reference}' -o translated.png",
    }
