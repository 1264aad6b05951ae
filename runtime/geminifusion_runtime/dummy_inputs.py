"""Made-up sensor data of any size: to trace, warm up, measure and compare where no real frame is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.backends.protocol import BatchShape

_FARTHEST_METRES = 8.0
_UNMEASURED = 0.1  # share of pixels


def blank_inputs(modalities: Sequence[ModalitySpec], shape: BatchShape) -> dict[str, NDArray[np.generic]]:
    """One batch by graph input name with nothing to see: 1 everywhere, of whatever unit."""
    return {spec.name: np.ones(_input_shape(spec, shape), spec.dtype) for spec in modalities}


def random_inputs(
    modalities: Sequence[ModalitySpec], shape: BatchShape, seed: int = 0
) -> dict[str, NDArray[np.generic]]:
    """One batch by graph input name.

    Intensities of 0…255, stored numbers in the range of the modality, distances of 0…8 m of which a tenth is not
    measured (0).
    """
    generator = np.random.default_rng(seed)
    inputs: dict[str, NDArray[np.generic]] = {}
    for spec in modalities:
        size = _input_shape(spec, shape)
        if spec.dtype == "uint8":
            inputs[spec.name] = generator.integers(0, 256, size, dtype=np.uint8)
        elif spec.unit == "count":
            low, high = np.float32(spec.range[0]), np.float32(spec.range[1])
            inputs[spec.name] = low + generator.random(size, dtype=np.float32) * (high - low)
        else:
            values = generator.random(size, dtype=np.float32) * np.float32(_FARTHEST_METRES)
            values[generator.random(size) < _UNMEASURED] = 0.0
            inputs[spec.name] = values
    return inputs


def _input_shape(spec: ModalitySpec, shape: BatchShape) -> tuple[int, ...]:
    return (*shape, 3) if spec.channels == 3 else shape
