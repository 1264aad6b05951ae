"""What is done about a frame of a broken sensor: refuse it, say so, or go on without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.decode import Reading
from geminifusion_runtime.errors import SensorBrokenError
from geminifusion_runtime.types import SensorPolicy


def apply_policy(
    readings: Mapping[str, Reading], specs: Mapping[str, ModalitySpec], policy: SensorPolicy
) -> tuple[dict[str, Reading], tuple[str, ...]]:
    """The readings to go on with, and what to tell the client of those that were dropped.

    Raises:
        SensorBrokenError: the policy is to reject; or to drop, and the model was not trained to do without.
    """
    kept, notes = dict(readings), []
    for name, reading in readings.items():
        problem = reading.health.problem
        if problem is None:
            continue
        if policy == "reject":
            raise SensorBrokenError(
                f"{name} seems to come from a broken sensor: {problem}; check it, or send sensor_policy=warn"
            )
        if policy == "drop-modality":
            if not specs[name].optional:
                raise SensorBrokenError(
                    f"{name} seems to come from a broken sensor: {problem}; the model cannot do without it: check the "
                    "sensor, or send sensor_policy=warn"
                )
            del kept[name]
            notes.append(f"{name} was left out, because its sensor seems broken: {problem}")
        else:
            text = f"{name} seems to come from a broken sensor: {problem}"
            kept[name] = dataclasses.replace(reading, warnings=(*reading.warnings, text))
    return kept, tuple(notes)
