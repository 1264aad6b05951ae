"""Made-up sensor data of any size, for measurements that need no picture and a machine that has no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.verification.comparison import Feeds, Shape
from geminifusion_runtime.artifact import ModalitySpec

_FARTHEST_METRES = 8.0
_UNMEASURED = 0.1


def sample_feeds(modalities: Sequence[ModalitySpec], shape: Shape, seed: int = 0) -> Feeds:
    """One batch by graph input name: intensities 0…255, metres 0…8 with a tenth unmeasured (0)."""
    generator = np.random.default_rng(seed)
    feeds: dict[str, NDArray[np.generic]] = {}
    for modality in modalities:
        size = shape + ((3,) if modality.channels == 3 else ())
        if modality.dtype == "uint8":
            feeds[modality.name] = generator.integers(0, 256, size, dtype=np.uint8)
        else:
            values = generator.random(size, dtype=np.float32) * np.float32(_FARTHEST_METRES)
            values[generator.random(size) < _UNMEASURED] = 0.0
            feeds[modality.name] = values
    return feeds
