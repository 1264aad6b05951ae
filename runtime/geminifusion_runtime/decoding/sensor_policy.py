"""Policies for a frame of a broken sensor: reject it, warn, drop the modality, or have it made from the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.errors import SensorBrokenError
from geminifusion_runtime.types import SensorPolicy


def apply_policy(
    images: Mapping[str, DecodedImage], specs: Mapping[str, ModalitySpec], policy: SensorPolicy
) -> tuple[dict[str, DecodedImage], tuple[str, ...]]:
    """Apply a policy to the images of a request.

    Returns:
        The images to go on with, and a warning for each that was dropped.

    Raises:
        SensorBrokenError: the policy is to reject, or to synthesize what nothing makes; or to drop, and the model was
            not trained to do without, or nothing else came.
    """
    kept, notes = dict(images), []
    for name, image in images.items():
        problem = image.health.problem
        if problem is None or not image.measured:
            continue
        if policy in ("reject", "synthesize"):  # what could be synthesized is no longer the sensor's
            raise SensorBrokenError(
                f"{name} seems to come from a broken sensor: {problem}; check it, or send sensor_policy=warn"
            )
        if policy == "drop-modality":
            if not specs[name].optional:
                raise SensorBrokenError(
                    f"{name} seems to come from a broken sensor: {problem}; the model cannot do without it: check the "
                    "sensor, or send sensor_policy=warn"
                )
            if len(kept) == 1:
                raise SensorBrokenError(
                    f"{name} seems to come from a broken sensor: {problem}; there is nothing else to go by: check the "
                    "sensors, or send sensor_policy=warn"
                )
            del kept[name]
            notes.append(f"{name} was left out, because its sensor seems broken: {problem}")
        else:
            text = f"{name} seems to come from a broken sensor: {problem}"
            kept[name] = dataclasses.replace(image, warnings=(*image.warnings, text))
    return kept, tuple(notes)
