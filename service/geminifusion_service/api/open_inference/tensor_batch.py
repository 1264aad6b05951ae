"""Tensors of a batch to single images, and the responses back to tensors.

Axes: N images of a batch, H W pixels of an image, h w a quarter of those the graph saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime import strict_json
from geminifusion_runtime.errors import ImageTooLargeError, SizeMismatchError, TooLargeError, UnprocessableError
from geminifusion_service.api.open_inference.parameters import Parameter
from geminifusion_service.api.open_inference.tensors import BYTES, Tensor, array_tensor, bytes_tensor
from geminifusion_service.errors import EmptyBodyError, MalformedBodyError
from geminifusion_service.request import SegmentResponse, TaskResponse

Image = bytes | NDArray[np.generic]
Images = dict[str, Image]
_COLOR_AXES = 4  # N H W 3; modalities of one channel are N H W
_PIXELS = ("UINT8", "UINT16", "FP16", "FP32", "FP64")


def split_batch(inputs: Sequence[Tensor], *, max_batch: int, max_pixels: int) -> list[Images]:
    """The images of each item by modality name: encoded files of BYTES tensors, else arrays that view the tensor.

    Raises:
        EmptyBodyError: no inputs, or a batch of nothing.
        MalformedBodyError: an input comes twice.
        UnprocessableError: a tensor whose shape or datatype is no batch of images.
        SizeMismatchError: batches of different length.
        TooLargeError, ImageTooLargeError: more images or pixels than the limits allow.
    """
    if not inputs:
        raise EmptyBodyError("the request has no inputs; send a tensor for each modality")
    items: list[Images] = []
    lengths: dict[str, int] = {}
    for tensor in inputs:
        if tensor.name in lengths:
            raise MalformedBodyError(f"the input {tensor.name!r} comes twice; send each once")
        images: Sequence[Image] = _encoded(tensor) if tensor.datatype == BYTES else _pixels(tensor, max_pixels)
        lengths[tensor.name] = len(images)
        if len(images) > max_batch:
            raise TooLargeError(f"the batch has {len(images)} images, this server takes {max_batch}; send fewer")
        if len(set(lengths.values())) > 1:
            raise SizeMismatchError(f"the inputs differ in their batch: {lengths}; send as many images of each")
        items = items or [{} for _ in images]
        for item, image in zip(items, images, strict=True):
            item[tensor.name] = image
    if not items:
        raise EmptyBodyError("the batch holds no images; send one or more")
    return items


def _encoded(tensor: Tensor) -> Sequence[bytes]:
    # Triton's clients send N x 1, those of KServe N.
    if len(tensor.shape) != 1 and tensor.shape[1:] != (1,):
        raise UnprocessableError(
            f"{tensor.name} is BYTES of shape {list(tensor.shape)}; send files as [batch, 1] or [batch]"
        )
    return tensor.elements


def _pixels(tensor: Tensor, max_pixels: int) -> Sequence[NDArray[np.generic]]:
    name, shape, array = tensor.name, tensor.shape, tensor.array
    if array is None or tensor.datatype not in _PIXELS:
        raise UnprocessableError(
            f"{name} is {tensor.datatype}; send UINT8 pictures, FP32 metres or UINT16 millimetres of depth, UINT16 or "
            "FP32 numbers of other sensors, or files as BYTES"
        )
    color = len(shape) == _COLOR_AXES and shape[3] == 3
    if not (color or len(shape) == _COLOR_AXES - 1) or 0 in shape[1:]:
        raise UnprocessableError(
            f"{name} has shape {list(shape)}; send three channels as [batch, height, width, 3], "
            "depth and others of one channel as [batch, height, width]"
        )
    height, width = shape[1:3]
    if height * width > max_pixels:
        raise ImageTooLargeError(
            f"{name} is {width}x{height}; this server takes {max_pixels} pixels, send a smaller image"
        )
    return list(array)


def files_axes(inputs: Sequence[Tensor]) -> int:
    """Number of axes of tensors of files in the response: as in the request, 2 where it has none."""
    return next((len(tensor.shape) for tensor in inputs if tensor.datatype == BYTES), 2)


def join_batch(responses: Sequence[SegmentResponse], outputs: Sequence[str], *, files_axes: int) -> tuple[Tensor, ...]:
    """The requested outputs as tensors.

    Raises:
        SizeMismatchError: images of different size, whose pixels make no tensor.
    """
    files_shape = (len(responses), 1)[:files_axes]
    read: Mapping[str, Callable[[SegmentResponse], NDArray[np.generic] | None]] = {
        "labels": lambda response: response.labels,
        # The segmenter halves the precision of maps; the tensor's datatype is FP32.
        "confidence": lambda response: _float32(response.confidence),
        "gate": lambda response: _float32(response.gate),
        "modality_weights": _modality_weights,
        "disagreement": lambda response: _float32(response.disagreement),
    }
    tensors = []
    for name in outputs:
        if name == "mask":
            tensors.append(bytes_tensor(name, [response.mask for response in responses], files_shape))
        else:
            tensors.append(array_tensor(name, _stack(name, [read[name](response) for response in responses])))
    return tuple(tensors)


def _modality_weights(response: SegmentResponse) -> NDArray[np.float32]:
    if not response.modality_weights:
        raise UnprocessableError(
            f"{response.model} was exported without modality weights; export it again, or leave them"
        )
    return np.stack([weights.astype(np.float32) for weights in response.modality_weights.values()])


def _float32(values: NDArray[np.float16] | None) -> NDArray[np.float32] | None:
    return None if values is None else values.astype(np.float32)


def _stack(name: str, planes: Sequence[NDArray[np.generic] | None]) -> NDArray[np.generic]:
    arrays = [plane for plane in planes if plane is not None]
    assert len(arrays) == len(planes), "a response has the maps that were requested"
    return stacked(name, arrays, alone="mask")


def stacked(name: str, arrays: Sequence[NDArray[np.generic]], *, alone: str) -> NDArray[np.generic]:
    """The arrays of a batch as one.

    Args:
        name: of the output.
        alone: the output to ask for where sizes differ.

    Raises:
        SizeMismatchError: they differ in size.
    """
    if len(arrays) == 1:
        return arrays[0][None]  # a view, where stacking would copy
    if len({array.shape for array in arrays}) > 1:
        raise SizeMismatchError(
            f"the images of the batch differ in size, so their {name} make no tensor; "
            f"ask for the output {alone} alone, or send images of one size together"
        )
    return np.stack(arrays)


def response_parameters(responses: Sequence[TaskResponse]) -> dict[str, Parameter]:
    """Parameters of the response: the longest time of each stage, every warning, and the classes where asked for."""
    stages = [vars(response.timings) for response in responses]
    parameters: dict[str, Parameter] = {
        f"{stage}_ms": round(max(timings[stage] for timings in stages), 3) for stage in stages[0]
    }
    parameters["batch_size"] = max(response.batch_size for response in responses)
    if warnings := list(dict.fromkeys(warning for response in responses for warning in response.warnings)):
        parameters["warnings"] = "; ".join(warnings)
    classes = [response.classes for response in responses if isinstance(response, SegmentResponse)]
    if any(classes):
        parameters["classes"] = strict_json.dumps([[vars(share) for share in shares] for shares in classes])
    return parameters
