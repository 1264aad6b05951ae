"""Detection by the Open Inference Protocol: one frame a request, its boxes as tensors.

Inputs are `rgb` and `calibration` as files (BYTES), `points` as a file or FP32 `P 4`. Outputs are `boxes` FP32 `n 7`
(see `geminifusion_runtime.detection.boxes`), `scores` FP32 `n` and `labels` UINT8 `n`; and `image_boxes` FP64 `n 4`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import UnprocessableError
from geminifusion_runtime.option_sets import given_values, unknown_option
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS, DetectOptions
from geminifusion_service.api.open_inference.parameters import Parameter, priority_word, timeout_ms
from geminifusion_service.api.open_inference.tensors import BYTES, Tensor, array_tensor
from geminifusion_service.errors import EmptyBodyError, MalformedBodyError
from geminifusion_service.observability.request_context import is_request_id
from geminifusion_service.request import DetectResponse

INPUTS = (("rgb", BYTES, (1,)), ("points", BYTES, (1,)), ("calibration", BYTES, (1,)))
OUTPUTS = (("boxes", "FP32", (7,)), ("scores", "FP32", ()), ("labels", "UINT8", ()))
OUTPUT_NAMES = (*(name for name, _, _ in OUTPUTS), "image_boxes")
_NAMES = ("min_score", "sensor_policy", "priority", "deadline_ms")


def frame_parts(inputs: Sequence[Tensor]) -> dict[str, bytes | NDArray[np.generic]]:
    """The parts of the frame by name.

    Raises:
        EmptyBodyError: no inputs.
        MalformedBodyError: an input comes twice.
        UnprocessableError: an input is no single file, nor points.
    """
    if not inputs:
        raise EmptyBodyError("the request has no inputs; send rgb, points and calibration")
    parts: dict[str, bytes | NDArray[np.generic]] = {}
    for tensor in inputs:
        if tensor.name in parts:
            raise MalformedBodyError(f"the input {tensor.name!r} comes twice; send each once")
        if tensor.datatype == BYTES and len(tensor.elements) == 1:
            parts[tensor.name] = tensor.elements[0]
        elif tensor.name == "points" and tensor.array is not None:
            parts[tensor.name] = tensor.array
        else:
            raise UnprocessableError(
                f"{tensor.name} is {tensor.datatype} of shape {list(tensor.shape)}; send one file as BYTES of shape "
                "[1, 1], or points as FP32 of shape [points, 4]: a request has one frame"
            )
    return parts


def detect_options_from(
    parameters: Mapping[str, Parameter], *, model: str, milliseconds_left: float | None, request_id: str
) -> DetectOptions:
    """The options of a request; the arguments are those of `parameters.options_from`.

    Raises:
        InvalidOptionError: an unknown name or a value outside its range.
    """
    values: dict[str, str] = {}
    for name, value in parameters.items():
        if name == "binary_data_output" or name.startswith("triton_"):
            continue
        if name not in (*_NAMES, "timeout"):
            raise unknown_option(name, (*_NAMES, "timeout"), kind="parameter")
        values[name] = value if isinstance(value, str) else json.dumps(value)  # noqa: TID251 - read again at once
    if "priority" in values:
        values["priority"] = priority_word(values["priority"])
    limit_ms = timeout_ms(values.pop("timeout", "0"))
    options = DETECT_OPTIONS.parse_text(values)
    if milliseconds_left is not None:
        milliseconds_left = max(milliseconds_left, 0.001)  # one that has just passed is 0 or less
    deadlines = [one for one in (options.deadline_ms, limit_ms, milliseconds_left) if one is not None]
    return DETECT_OPTIONS.parse_values(
        {
            **given_values(options),
            "model": model,
            "format": None,
            "deadline_ms": min(deadlines, default=None),
            "request_id": request_id if is_request_id(request_id) else None,
        }
    )


def box_tensors(response: DetectResponse, outputs: Sequence[str]) -> tuple[Tensor, ...]:
    """The requested outputs as tensors."""
    found = response.found
    boxes, scores, labels = found.detections
    arrays: dict[str, NDArray[np.generic]] = {
        "boxes": boxes,
        "scores": scores,
        "labels": labels,
        "image_boxes": found.rectangles,
    }
    return tuple(array_tensor(name, arrays[name]) for name in outputs)
