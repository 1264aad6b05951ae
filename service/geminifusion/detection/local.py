"""Detect in this process: the code that a server runs, without a server and without torch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import numpy as np

from geminifusion_runtime.artifact import DetectionMetadata
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS
from geminifusion_runtime.tasks.detection.runtime import DetectionTask
from geminifusion_runtime.tasks.parts import decode_part

from ..array_inputs import plain_image
from ..errors import InvalidInputError
from ..images import ImageInput, check_array, file_bytes
from ..options import parsed
from .calls import (
    LOCAL_OPTIONS,
    CalibrationInput,
    CloudInput,
    read_calibration,
    read_cloud,
)
from .results import DetectionResult, DetectionSources

# A caller's own files need no guard against strangers; this is as much as OpenCV decodes.
_MAX_PIXELS = 2**30


def detect(
    model: Model, rgb: ImageInput, points: CloudInput, calibration: CalibrationInput, options: Mapping[str, Any]
) -> DetectionResult:
    """The boxes that a model finds in a frame.

    Raises:
        InvalidInputError: a file cannot be read, an argument is out of range, or the model is no detector.
        geminifusion_runtime.errors.GeminiFusionError: as a server responds.
    """
    metadata = model.metadata
    if not isinstance(metadata, DetectionMetadata):
        raise InvalidInputError(f"{metadata.reference} is a model for {metadata.task}; load a detector")
    for name in options:
        if name not in LOCAL_OPTIONS:
            raise InvalidInputError(f"{name} is no option of detect() here; give {', '.join(LOCAL_OPTIONS)}")
    started = time.perf_counter()
    checked = parsed(DETECT_OPTIONS, options)
    model.synthesis_for(checked)  # nothing makes what a detector takes, and it says so
    image = plain_image(rgb, "rgb")
    if isinstance(image, np.ndarray):
        check_array(image, "rgb")
    task = DetectionTask(metadata)
    camera, cloud = read_calibration(calibration), read_cloud(points)
    (rgb_spec,) = metadata.modalities
    rgb_data = image if isinstance(image, np.ndarray) else file_bytes(image, "rgb")
    decoded = {
        "rgb": decode_part(rgb_data, rgb_spec, max_pixels=_MAX_PIXELS),
        "points": DecodedImage(array=cloud.points, warnings=cloud.warnings),  # as many as a caller has
        "calibration": DecodedImage(array=camera.packed()),
    }
    prepared = task.prepare(checked, decoded, model.sensor_policy, size_problem=model.backend.size_problem)
    ready = time.perf_counter()
    result = task.encode(dataclasses.replace(checked, format=None), prepared, model.run(prepared.items))
    computed = time.perf_counter()
    return DetectionResult(
        found=result.found,
        size=(result.height, result.width),
        num_points=result.num_points,
        model=metadata.reference,
        timings_ms={"decode": (ready - started) * 1e3, "compute": (computed - ready) * 1e3},
        warnings=prepared.warnings,
        sensors=prepared.sensors,
        request_id=uuid4().hex,
        grid=metadata.grid,
        sources=DetectionSources(rgb=prepared.image, points=prepared.points, calibration=camera),
    )
