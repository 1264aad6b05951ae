"""Colors for classes that come without."""

from __future__ import annotations

import cv2
import numpy as np


def evenly_spread_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """`count` distinguishable RGB colors, fixed by their number alone."""
    hsv = np.zeros((count, 1, 3), np.uint8)
    steps = np.arange(count)
    hsv[:, 0, 0] = steps * 180 * 0.618034 % 180  # golden-ratio steps keep neighbors apart
    hsv[:, 0, 1] = 110 + 50 * (steps % 3)
    hsv[:, 0, 2] = 250 - 45 * (steps // 3 % 3)
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[:, 0]
    return tuple((int(r), int(g), int(b)) for r, g, b in rgb)
