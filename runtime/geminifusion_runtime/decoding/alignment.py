"""Resizing of the modalities to one size, where the client asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import cv2

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.decode import DecodedImage

_SAME_SHAPE = 0.02  # aspect ratios that differ by more make a warning


def size_reference(names: Collection[str]) -> str:
    """The modality whose size the labels have: rgb, or else the first one.

    Args:
        names: of what came, in the model's order; at least one.
    """
    return "rgb" if "rgb" in names else next(iter(names))


def resize_to_reference(
    images: Mapping[str, DecodedImage], specs: Mapping[str, ModalitySpec]
) -> dict[str, DecodedImage]:
    """Resize every image to the size of `size_reference`.

    Distances and HHA by nearest neighbour, because a mean over a depth edge would be a place where nothing is; the
    others by area or bilinearly. Only sizes are matched: frames of cameras at different places must be registered
    before they are sent.

    Args:
        images: by modality name, in the model's order.
        specs: of the model, by name.
    """
    if not images:
        return {}
    reference = size_reference(images)
    height, width = images[reference].array.shape[:2]
    aligned = dict(images)
    for name, image in images.items():
        rows, columns = image.array.shape[:2]
        if (rows, columns) == (height, width):
            continue
        if not specs[name].can_average:
            method = cv2.INTER_NEAREST_EXACT
        else:
            method = cv2.INTER_AREA if rows > height else cv2.INTER_LINEAR
        notes = [f"{name} was resized from {columns}x{rows} to {width}x{height}"]
        if abs(columns * height / (rows * width) - 1) > _SAME_SHAPE:
            notes.append(f"{name} has another shape than {reference}, so it was stretched; are both the same view?")
        resized = cv2.resize(image.array.astype(specs[name].dtype, copy=False), (width, height), interpolation=method)
        aligned[name] = dataclasses.replace(image, array=resized, warnings=(*image.warnings, *notes))
    return aligned
