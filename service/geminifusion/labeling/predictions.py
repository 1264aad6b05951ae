"""Tasks of Label Studio to its predictions: a brush region for each class that the project has a label for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from geminifusion_runtime.errors import GeminiFusionError

from ..errors import ClientError, InvalidInputError
from ..results import Result
from .brush_rle import encode_brush
from .label_config import BrushTarget
from .source import LabelingModel, images_of, mean_confidence
from .task_images import TaskImages

TaskError = ClientError | GeminiFusionError
"""Why a task has no prediction."""


def predict_task(
    task: Mapping[str, Any], target: BrushTarget, model: LabelingModel, images: TaskImages, depth_field: str
) -> dict[str, Any]:
    """The prediction for a task.

    Args:
        task: as Label Studio sends it; its `data` holds addresses of images.
        depth_field: field of the data with the address of the depth, where there is one.

    Raises:
        ClientError: an image cannot be read, or the server responded with an error.
        GeminiFusionError: the model in this process cannot take it.
    """
    data = task.get("data")
    address = data.get(target.image_field) if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(address, str):
        raise InvalidInputError(f"its data has no address in {target.image_field!r}, which the configuration names")
    depth = data.get(depth_field) or None
    if depth is not None and not isinstance(depth, str):
        raise InvalidInputError(f"its {depth_field!r} is a {type(depth).__name__}; expected the address of an image")
    result = model.segment(**images_of(images.read(address), None if depth is None else images.read(depth)))
    return prediction(result, target)


def prediction(result: Result, target: BrushTarget) -> dict[str, Any]:
    """A result as a prediction; its score is the mean confidence. Classes without a label are left out."""
    class_ids: dict[str, list[int]] = {}
    for share in result.classes:
        if (label := target.label_of(share.name)) is not None:
            class_ids.setdefault(label, []).append(share.id)
    return {
        "result": [_region(result, target, label, ids) for label, ids in class_ids.items()],
        "score": mean_confidence(result),
        "model_version": result.model,
    }


def no_prediction(error: TaskError) -> dict[str, Any]:
    """What stands in the list for a task that has no prediction; Label Studio counts them off by their place."""
    return {"result": [], "score": 0.0, "error": str(error)}


def _region(result: Result, target: BrushTarget, label: str, class_ids: list[int]) -> dict[str, Any]:
    height, width = result.labels.shape
    return {
        "id": secrets.token_hex(5),
        "type": "brushlabels",
        "from_name": target.from_name,
        "to_name": target.to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(np.isin(result.labels, class_ids)), "brushlabels": [label]},
    }
