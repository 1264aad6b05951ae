"""From decoded images to the inputs of a graph: checks against the model, and the reduction of large images."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec
from geminifusion_runtime.decoding.alignment import size_reference
from geminifusion_runtime.errors import (
    ImageTooSmallError,
    MissingPartError,
    SizeMismatchError,
    SizeNotServedError,
    UnknownPartError,
    UnprocessableError,
)

T = TypeVar("T")

# Images of which the network sees a fixed size are reduced beyond this multiple of its maximum of pixels: the logits
# are enlarged to their size, which takes memory.
_LARGEST_FACTOR = 4


@dataclass(frozen=True, kw_only=True)
class PreparedItem:
    """Checked inputs of one request, at the size the graph runs at.

    Items of equal `shape` may share a batch.
    """

    inputs: Mapping[str, NDArray[np.generic]]  # by graph input name, without batch axis
    shape: tuple[int, int]  # height, width of the inputs
    image_size: tuple[int, int]  # height, width of the images before any reduction

    @property
    def batch_key(self) -> tuple[int, int]:
        """The shape."""
        return self.shape


def images_by_modality(metadata: ArtifactMetadata, images: Mapping[str, T]) -> Mapping[str, T]:
    """The images by the model's modalities: depth that came for a model which computes HHA from it is that modality."""
    computed = metadata.hha_from_depth if "depth" in images else None
    if computed is None or computed.name in images:
        return images
    return {computed.name if name == "depth" else name: image for name, image in images.items()}


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
    if not set(names) & set(expected):
        raise MissingPartError(f"{came} came; send at least one of {', '.join(expected)}")
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
    arrays: Mapping[str, NDArray[np.generic]],
    *,
    size_problem: Callable[[int, int], str | None],
) -> PreparedItem:
    """Check the images of one request against the model and bring them to a size that the graph takes.

    Args:
        metadata: of the model.
        arrays: the modalities by name, `H W` or `H W 3` in the dtype and unit of their `ModalitySpec`, all of one size.
            Those that the model was trained to do without may be left out, but not all of them.
        size_problem: why the backend cannot run images of a height and width, or None; see `Backend`.

    Raises:
        MissingPartError, UnknownPartError: the modalities are not the model's.
        UnprocessableError: an array of another type or number of channels.
        SizeMismatchError: the modalities differ in size.
        ImageTooSmallError: a side is below the model's minimum, as sent or once reduced to its maximum.
        SizeNotServedError: the backend was built for other sizes.
    """
    check_names(metadata, list(arrays))
    came = [spec for spec in metadata.modalities if spec.name in arrays]
    for spec in came:
        _check_array(arrays[spec.name], spec)
    reference = size_reference([spec.name for spec in came])
    height, width = arrays[reference].shape[:2]
    for spec in came:
        rows, columns = arrays[spec.name].shape[:2]
        if (rows, columns) != (height, width):
            raise SizeMismatchError(
                f"{spec.name} is {columns}x{rows} but {reference} is {width}x{height}; "
                f"send all at the same size, aligned to the camera of {reference}, or say align=resize"
            )
    shape = _graph_size(metadata, height, width)
    if problem := size_problem(*shape):
        raise SizeNotServedError(f"the images are {width}x{height}: {problem}")
    inputs = {}
    for spec in metadata.modalities:
        if spec.name not in arrays:
            array = _absent(spec, shape)
        elif shape != (height, width):
            array = _reduce(arrays[spec.name], shape, spec)
        else:
            array = arrays[spec.name]
        inputs[spec.name] = np.ascontiguousarray(array)
    return PreparedItem(inputs=inputs, shape=shape, image_size=(height, width))


def without(metadata: ArtifactMetadata, item: PreparedItem, names: Collection[str]) -> PreparedItem:
    """The same frame as if these modalities had not come, whether the model was trained for that or not.

    Raises:
        ValueError: no modality of the model would be left.
    """
    if all(spec.name in names for spec in metadata.modalities):
        raise ValueError(f"without {', '.join(names)} nothing is left of {', '.join(item.inputs)}")
    inputs = {
        spec.name: np.ascontiguousarray(_absent(spec, item.shape)) if spec.name in names else item.inputs[spec.name]
        for spec in metadata.modalities
    }
    return PreparedItem(inputs=inputs, shape=item.shape, image_size=item.image_size)


def _graph_size(metadata: ArtifactMetadata, height: int, width: int) -> tuple[int, int]:
    """Height and width of the graph's inputs: those of the images, reduced to the model's maximum of pixels."""
    policy = metadata.size
    shape = (height, width)
    most = policy.max_pixels if policy.shorter_side is None else _LARGEST_FACTOR * policy.max_pixels
    if height * width > most:
        factor = math.sqrt(most / (height * width))
        shape = (int(height * factor), int(width * factor))
    if min(shape) < policy.min_side:
        reduced = "" if shape == (height, width) else f" ({shape[1]}x{shape[0]} once reduced to what fits)"
        raise ImageTooSmallError(
            f"the images are {width}x{height}{reduced}; {metadata.reference} takes no side below {policy.min_side}: "
            "send larger or less elongated images"
        )
    seen = policy.network_size(*shape)
    if policy.shorter_side is not None and math.prod(seen) > policy.max_pixels:
        raise SizeNotServedError(
            f"the images are {width}x{height}, which {metadata.reference} would see as {seen[1]}x{seen[0]}, more than "
            f"its {policy.max_pixels} pixels: send less elongated images"
        )
    return shape


def _absent(spec: ModalitySpec, size: tuple[int, ...]) -> NDArray[np.generic]:
    """What stands for a missing modality in training: the mean colour, or zeros, which are no measurement."""
    full = (*size, 3) if spec.channels == 3 else size
    if spec.encoding != "imagenet":
        return np.zeros(full, spec.dtype)
    return np.broadcast_to(np.round(255 * np.array(spec.mean)).astype(spec.dtype), full)


def _check_array(array: NDArray[np.generic], spec: ModalitySpec) -> None:
    expected = "height x width x 3" if spec.channels == 3 else "height x width"
    fits = array.ndim == 3 and array.shape[2] == 3 if spec.channels == 3 else array.ndim == 2
    if not fits or array.dtype != np.dtype(spec.dtype):
        raise UnprocessableError(
            f"{spec.name} is {array.dtype} of shape {array.shape}; expected {spec.dtype}, {expected}"
        )


def _reduce(array: NDArray[np.generic], shape: tuple[int, int], spec: ModalitySpec) -> NDArray[np.generic]:
    method = cv2.INTER_AREA if spec.can_average else cv2.INTER_NEAREST_EXACT
    return cv2.resize(array.astype(spec.dtype, copy=False), shape[::-1], interpolation=method)
