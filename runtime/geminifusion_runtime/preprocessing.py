"""From decoded images to the inputs of a graph: checks against the model, and the reduction of large images."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec
from geminifusion_runtime.errors import (
    ImageTooSmallError,
    MissingPartError,
    SizeMismatchError,
    SizeNotServedError,
    UnknownPartError,
    UnprocessableError,
)


@dataclass(frozen=True, kw_only=True)
class PreparedItem:
    """Checked inputs of one request, at the size the graph runs at.

    Items of equal `shape` may share a batch.
    """

    inputs: Mapping[str, NDArray[np.generic]]  # by graph input name, without batch axis
    shape: tuple[int, int]  # height, width of the inputs
    image_size: tuple[int, int]  # height, width of the images before any reduction


def check_names(metadata: ArtifactMetadata, names: Sequence[str]) -> None:
    """Reject a request that lacks a modality of the model or brings an unknown one, before anything is decoded.

    Raises:
        MissingPartError, UnknownPartError: naming what came and what is expected.
    """
    expected = [modality.name for modality in metadata.modalities]
    came = ", ".join(sorted(names)) or "nothing"
    for modality in metadata.modalities:
        name = modality.name
        if name not in names and not modality.optional:
            raise MissingPartError(f"{name} is missing: {came} came; send {' and '.join(expected)}")
    for name in names:
        if name not in expected:
            raise UnknownPartError(
                f"{metadata.reference} has no input {name!r}; send {' and '.join(expected)} "
                "(options go into the query string)"
            )


def absence_warnings(metadata: ArtifactMetadata, came: Collection[str]) -> tuple[str, ...]:
    """Warnings for a client who left out a modality that the model can do without."""
    return tuple(
        f"no {modality.name} was sent; the model was trained to do without, but answers are less sure"
        for modality in metadata.modalities
        if modality.name not in came
    )


def prepare(
    metadata: ArtifactMetadata,
    rgb: NDArray[np.uint8],
    others: Mapping[str, NDArray[np.generic]],
    *,
    size_problem: Callable[[int, int], str | None],
) -> PreparedItem:
    """Check the images of one request against the model and bring them to a size that the graph takes.

    Args:
        metadata: of the model.
        rgb: `H W 3` uint8.
        others: the other modalities by name; depth is `H W` float32 metres, 0 or NaN = no measurement. A modality that
            the model was trained to do without may be left out.
        size_problem: why the backend cannot run images of a height and width, or None; see `Backend`.

    Raises:
        MissingPartError, UnknownPartError: the modalities are not the model's.
        UnprocessableError: an array of another type or number of channels.
        SizeMismatchError: the modalities differ in size.
        ImageTooSmallError: a side is below the model's minimum, as sent or once reduced to its maximum.
        SizeNotServedError: the backend was built for other sizes.
    """
    arrays: dict[str, NDArray[np.generic]] = {"rgb": rgb, **others}
    check_names(metadata, list(arrays))
    for spec in metadata.modalities:
        if spec.name not in arrays:
            arrays[spec.name] = _absent(spec, rgb.shape[:2])
        _check_array(arrays[spec.name], spec)
    height, width = rgb.shape[:2]
    for name, array in others.items():
        if array.shape[:2] != (height, width):
            raise SizeMismatchError(
                f"{name} is {array.shape[1]}x{array.shape[0]} but rgb is {width}x{height}; "
                "send both at the same size, aligned to the colour camera, or say align=resize"
            )
    shape = _graph_size(metadata, height, width)
    if problem := size_problem(*shape):
        raise SizeNotServedError(f"the images are {width}x{height}: {problem}")
    if shape != (height, width):
        arrays = {spec.name: _reduce(arrays[spec.name], shape, spec) for spec in metadata.modalities}
    return PreparedItem(
        inputs={spec.name: np.ascontiguousarray(arrays[spec.name]) for spec in metadata.modalities},
        shape=shape,
        image_size=(height, width),
    )


def rgb_alone(metadata: ArtifactMetadata, item: PreparedItem) -> PreparedItem:
    """The same frame as if nothing but rgb had come, whether the model was trained for that or not."""
    inputs = {
        spec.name: item.inputs["rgb"] if spec.name == "rgb" else np.ascontiguousarray(_absent(spec, item.shape))
        for spec in metadata.modalities
    }
    return PreparedItem(inputs=inputs, shape=item.shape, image_size=item.image_size)


def _graph_size(metadata: ArtifactMetadata, height: int, width: int) -> tuple[int, int]:
    """Height and width the graph runs at: those of the images, reduced to the model's maximum of pixels."""
    policy = metadata.size
    shape = (height, width)
    if height * width > policy.max_pixels:
        factor = math.sqrt(policy.max_pixels / (height * width))
        shape = (int(height * factor), int(width * factor))
    if min(shape) < policy.min_side:
        reduced = "" if shape == (height, width) else f" ({shape[1]}x{shape[0]} once reduced to what fits)"
        raise ImageTooSmallError(
            f"the images are {width}x{height}{reduced}; {metadata.reference} takes no side below {policy.min_side}: "
            "send larger or less elongated images"
        )
    return shape


def _absent(spec: ModalitySpec, size: tuple[int, ...]) -> NDArray[np.generic]:
    """What encodes to zero, as in training: nothing measured, or the mean intensity."""
    if spec.unit == "metre":
        return np.zeros(size, spec.dtype)
    mean = np.round(255 * np.array(spec.mean)).astype(spec.dtype)
    return np.broadcast_to(mean, (*size, 3)) if spec.channels == 3 else np.full(size, mean[0], spec.dtype)


def _check_array(array: NDArray[np.generic], spec: ModalitySpec) -> None:
    expected = "height x width x 3" if spec.channels == 3 else "height x width"
    fits = array.ndim == 3 and array.shape[2] == 3 if spec.channels == 3 else array.ndim == 2
    if not fits or array.dtype != np.dtype(spec.dtype):
        raise UnprocessableError(
            f"{spec.name} is {array.dtype} of shape {array.shape}; expected {spec.dtype}, {expected}"
        )


def _reduce(array: NDArray[np.generic], shape: tuple[int, int], spec: ModalitySpec) -> NDArray[np.generic]:
    # An average over a depth edge would be a distance at which nothing is.
    method = cv2.INTER_AREA if spec.unit == "intensity" else cv2.INTER_NEAREST_EXACT
    return cv2.resize(array.astype(spec.dtype, copy=False), shape[::-1], interpolation=method)
