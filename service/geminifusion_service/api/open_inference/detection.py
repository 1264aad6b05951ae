"""Detection by the Open Inference Protocol: one frame a request, its boxes as tensors.

Inputs are `rgb` and `calibration` as files (BYTES), `points` as a file or FP32 `P 4`. Outputs are `boxes` FP32 `n 7`
(see `geminifusion_runtime.detection.boxes`), `scores` FP32 `n` and `labels` UINT8 `n`; and for requests that name them
`camera_boxes` FP64 `n 7` (x, y, z of the bottom's centre, height, width, length, rotation_y), `alphas` FP64 `n`,
`image_boxes` FP64 `n 4` (left, top, right, bottom) and `kitti`, KITTI's result text as a file (BYTES).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.detection.kitti_text import kitti_text
from geminifusion_runtime.errors import UnprocessableError
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS, DetectOptions
from geminifusion_service.api.open_inference.forms import Signature, TensorForm
from geminifusion_service.api.open_inference.parameters import Parameter, task_options
from geminifusion_service.api.open_inference.tensor_batch import Images
from geminifusion_service.api.open_inference.tensors import BYTES, Tensor, array_tensor, bytes_tensor
from geminifusion_service.errors import EmptyBodyError, MalformedBodyError
from geminifusion_service.request import DetectResponse, TaskResponse, detect_response_of
from geminifusion_service.settings import LimitSettings

_INPUTS: tuple[TensorForm, ...] = (("rgb", BYTES, (1,)), ("points", BYTES, (1,)), ("calibration", BYTES, (1,)))
_OUTPUTS: tuple[TensorForm, ...] = (("boxes", "FP32", (7,)), ("scores", "FP32", ()), ("labels", "UINT8", ()))
_KITTI = "kitti"
# Outputs that a request may name; the others follow from the first three, so no metadata offers them.
OUTPUT_NAMES = (*(name for name, _, _ in _OUTPUTS), "camera_boxes", "alphas", "image_boxes", _KITTI)


def inputs(_metadata: ArtifactMetadata, _signature: Signature) -> list[TensorForm]:
    """The parts of a frame as files; both signatures take the same."""
    return list(_INPUTS)


def outputs(_metadata: ArtifactMetadata, _signature: Signature) -> list[TensorForm]:
    """The boxes as numbers; both signatures give the same."""
    return list(_OUTPUTS)


def output_names(_metadata: ArtifactMetadata) -> tuple[str, ...]:
    """All, whatever the model."""
    return OUTPUT_NAMES


def items(inputs: Sequence[Tensor], _limits: LimitSettings) -> Sequence[Images]:
    """One frame; see `frame_parts`."""
    return [frame_parts(inputs)]


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


def options(
    parameters: Mapping[str, Parameter],
    *,
    model: str,
    outputs: Sequence[str],
    milliseconds_left: float | None,
    request_id: str,
) -> DetectOptions:
    """The options of a request, which no output changes; see `task_options`."""
    return task_options(
        DETECT_OPTIONS,
        parameters,
        model=model,
        milliseconds_left=milliseconds_left,
        request_id=request_id,
        elsewhere=("format",),
        settled=lambda _given: {"format": None},
    )


def tensors(responses: Sequence[TaskResponse], outputs: Sequence[str], _inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """See `box_tensors`; a request has one frame."""
    (response,) = responses
    return box_tensors(detect_response_of(response), outputs)


def box_tensors(response: DetectResponse, outputs: Sequence[str]) -> tuple[Tensor, ...]:
    """The requested outputs as tensors."""
    found = response.found
    boxes, scores, labels = found.detections
    arrays: dict[str, NDArray[np.generic]] = {
        "boxes": boxes,
        "scores": scores,
        "labels": labels,
        "camera_boxes": np.column_stack(found.camera),
        "alphas": found.alphas,
        "image_boxes": found.rectangles,
    }
    return tuple(
        bytes_tensor(_KITTI, [kitti_text(found).encode()], (1, 1))
        if name == _KITTI
        else array_tensor(name, arrays[name])
        for name in outputs
    )
