"""What of `POST /v1/segment` in the OpenAPI document follows from the loaded models: parts, options and examples."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec
from geminifusion_runtime.modality_options import modality_option_schemas
from geminifusion_runtime.model import Model
from geminifusion_service.models.description import what_to_send

_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_CAMERA = "518.9,519.5,325.6,253.7"  # of a Kinect, for examples
_BASE64: dict[str, Any] = {"type": "string", "format": "byte"}


def segment_operation(models: Sequence[Model]) -> dict[str, Any]:
    """Request body, options of modalities, and an example for each model.

    Args:
        models: the loaded ones, the default first; without any, the parts are not known.
    """
    return image_operation(models) | {
        "x-codeSamples": [sample for model in models for sample in _samples(model.metadata)]
    }


def image_operation(models: Sequence[Model]) -> dict[str, Any]:
    """Request body and options of modalities of a task on images; see `segment_operation`."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _parts(_BINARY, models)},
                "application/json": {"schema": _parts(_BASE64, models)},
            },
        },
        "parameters": _options([model.metadata for model in models]),
    }


def _parts(schema: dict[str, Any], models: Sequence[Model]) -> dict[str, Any]:
    if not models:
        return {"type": "object", "additionalProperties": schema, "description": "an image of each modality"}
    texts: dict[str, dict[str, list[str]]] = {}
    for model in models:
        for spec in model.metadata.modalities:
            texts.setdefault(spec.name, {}).setdefault(_part_text(model, spec), []).append(model.reference)
    properties = {}
    for name, by_text in texts.items():
        everywhere = len(by_text) == 1 and len(next(iter(by_text.values()))) == len(models)
        described = [text if everywhere else f"{', '.join(of)}: {text}" for text, of in by_text.items()]
        properties[name] = schema | {"description": "; ".join(described)}
    required = [name for name in properties if all(_is_required(model, name) for model in models)]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _part_text(model: Model, spec: ModalitySpec) -> str:
    if spec.optional:
        return f"{what_to_send(spec)} (may be left out)"
    if spec.name == model.synthesizes:
        return f"{what_to_send(spec)} (may be left out with sensor_policy=synthesize)"
    return what_to_send(spec)


def _is_required(model: Model, name: str) -> bool:
    """Whether the model rejects every request without this part.

    Depth may come in the place of HHA, and a synthesizer may make a part.
    """
    replaced = model.metadata.hha_from_depth
    if name in (model.synthesizes, None if replaced is None else replaced.name):
        return False
    return any(spec.name == name and not spec.optional for spec in model.metadata.modalities)


def _options(models: Sequence[ArtifactMetadata]) -> list[dict[str, Any]]:
    schemas = {
        name: schema
        for model in models
        for spec in model.modalities
        for name, schema in modality_option_schemas(spec).items()
    }
    parameters = []
    for name, schema in schemas.items():
        option = {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {key: value for key, value in schema.items() if key != "description"},
            "description": schema["description"],
        }
        if schema["type"] == "array":
            option |= {"style": "form", "explode": False}
        parameters.append(option)
    return parameters


def _samples(model: ArtifactMetadata) -> list[dict[str, str]]:
    files = {spec.name: f"{spec.name}.{'jpg' if spec.encoding == 'imagenet' else 'png'}" for spec in model.modalities}
    parts = " ".join(f"-F {shlex.quote(f'{name}=@{file}')}" for name, file in files.items())
    arguments = ", ".join(f"{name}={file!r}" for name, file in files.items() if name.isidentifier())
    address = f"http://localhost:8000/v1/segment?model={model.reference}"
    points = [
        {
            "lang": "Shell",
            "label": f"curl, points of {model.reference}",
            "source": f"curl {parts} '{address}&format=ply&intrinsics={_CAMERA}' -o points.ply",
        }
    ]
    return [
        {
            "lang": "Shell",
            "label": f"curl, {model.reference}",
            "source": f"curl {parts} '{address}' -o mask.png",
        },
        {
            "lang": "Python",
            "label": f"Python, {model.reference}",
            "source": "from geminifusion import Client\n\n"
            f'with Client("http://localhost:8000") as client:\n'
            f'    print(client.segment({arguments}, model="{model.reference}"))\n',
        },
        *(points if model.distance_modality(files) is not None else ()),
    ]
