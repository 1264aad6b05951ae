"""Modalities as pictures for people, which overlays are drawn on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_LOWEST, _HIGHEST = 2, 98  # percentiles of the measured values that the colors span
_STEP = 4  # of the rows and columns that the percentiles are taken from


def view(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A picture of one modality, whatever it measures.

    8-bit pictures are shown as they are. Distances and stored numbers of one channel are shown in false colors (Turbo)
    from dark blue, the lowest, to dark red, the highest; those of three channels are brought to 8 bits. What is 0, NaN
    or infinite, which means "no measurement", is black.

    Args:
        values: `H W` or `H W 3`, of any number type.

    Returns:
        `H W 3` uint8, RGB.
    """
    if values.dtype == np.uint8:
        picture = values.astype(np.uint8, copy=False)
        return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    numbers = values.astype(np.float32)
    measured = np.isfinite(numbers) & (numbers != 0)
    sample = numbers[::_STEP, ::_STEP][measured[::_STEP, ::_STEP]]
    low, high = np.percentile(sample, (_LOWEST, _HIGHEST)) if sample.size else (0.0, 1.0)
    spread = np.float32(max(high - low, np.finfo(np.float32).tiny))
    with np.errstate(invalid="ignore", over="ignore"):
        levels = np.clip((numbers - np.float32(low)) / spread, 0, 1) * np.float32(255)
    levels = np.where(measured, levels, 0).astype(np.uint8)
    if levels.ndim == 3:
        return levels
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    colors[~measured] = 0
    return colors.astype(np.uint8, copy=False)
