"""Resizing of the other modalities to the size of rgb, where the client asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import cv2

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.decode import DecodedImage

_SAME_SHAPE = 0.02  # aspect ratios that differ by more make a warning


def resize_to_rgb(images: Mapping[str, DecodedImage], specs: Mapping[str, ModalitySpec]) -> dict[str, DecodedImage]:
    """Resize every image to the size of rgb: distances by nearest neighbour, intensities by area or bilinearly.

    A mean over a depth edge would be a distance at which nothing is. Only sizes are matched: frames of cameras at
    different places must be registered before they are sent.
    """
    height, width = images["rgb"].array.shape[:2]
    aligned = dict(images)
    for name, image in images.items():
        rows, columns = image.array.shape[:2]
        if (rows, columns) == (height, width):
            continue
        if specs[name].unit == "metre":
            method = cv2.INTER_NEAREST_EXACT
        else:
            method = cv2.INTER_AREA if rows > height else cv2.INTER_LINEAR
        notes = [f"{name} was resized from {columns}x{rows} to {width}x{height}"]
        if abs(columns * height / (rows * width) - 1) > _SAME_SHAPE:
            notes.append(f"{name} has another shape than rgb, so it was stretched; are both the same view?")
        resized = cv2.resize(image.array.astype(specs[name].dtype, copy=False), (width, height), interpolation=method)
        aligned[name] = dataclasses.replace(image, array=resized, warnings=(*image.warnings, *notes))
    return aligned
