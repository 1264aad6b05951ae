"""Modalities of another size than rgb, brought to its size where the client asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import cv2

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.decode import Reading

_SAME_SHAPE = 0.02  # aspect ratios that differ by more make a warning


def resize_to_rgb(readings: Mapping[str, Reading], specs: Mapping[str, ModalitySpec]) -> dict[str, Reading]:
    """Every reading at the size of rgb: distances by nearest neighbour, intensities by area or bilinearly.

    A mean over a depth edge would be a distance at which nothing is. Sizes alone are matched: frames of cameras that
    look from different places must be registered before they are sent.
    """
    height, width = readings["rgb"].array.shape[:2]
    aligned = dict(readings)
    for name, reading in readings.items():
        rows, columns = reading.array.shape[:2]
        if (rows, columns) == (height, width):
            continue
        if specs[name].unit == "metre":
            method = cv2.INTER_NEAREST_EXACT
        else:
            method = cv2.INTER_AREA if rows > height else cv2.INTER_LINEAR
        notes = [f"{name} was resized from {columns}x{rows} to {width}x{height}"]
        if abs(columns * height / (rows * width) - 1) > _SAME_SHAPE:
            notes.append(f"{name} has another shape than rgb, so it was stretched; are both the same view?")
        resized = cv2.resize(reading.array.astype(specs[name].dtype, copy=False), (width, height), interpolation=method)
        aligned[name] = dataclasses.replace(reading, array=resized, warnings=(*reading.warnings, *notes))
    return aligned
