"""Encoding of label maps: PNG, palette PNG and overlay; the media types of all formats.

PNGs of indices come from our own encoder: a label map is flat areas, so no row filter and the fastest compression
already make it small, in a fraction of a general encoder's time.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.png_encoder import encode_png
from geminifusion_runtime.types import MaskFormat

MEDIA_TYPES: dict[MaskFormat, str] = {
    "png": "image/png",
    "palette": "image/png",
    "overlay": "image/png",
    "npz": "application/x-npz",
    "json": "application/json",
    "ply": "application/x-ply",
    "pcd": "application/x-pcd",
    "cloud-npz": "application/x-npz",
}

_OVERLAY_OPACITY = 0.5

Palette = Sequence[tuple[int, int, int]]


def index_png(labels: NDArray[np.uint8], palette: Palette | None = None) -> bytes:
    """Encode the class indices of `labels` (`H W`) as an 8-bit PNG, grey or with the class colors."""
    colors = None if palette is None else _color_table(palette, int(labels.max()))
    return encode_png(labels, colors, left_filter=False)


def _color_table(palette: Palette, highest: int) -> NDArray[np.uint8]:
    """Colours as `N 3`, black for indices without a colour, so that every index has an entry."""
    table = np.zeros((max(len(palette), highest + 1), 3), np.uint8)
    table[: len(palette)] = palette
    return table


def overlay_png(rgb: NDArray[np.uint8], labels: NDArray[np.uint8], palette: Palette) -> bytes:
    """Encode the class colours, blended evenly over `rgb` (`H W 3`), as a PNG."""
    colors = _color_table(palette, 255)[labels]
    blend = cv2.addWeighted(rgb, 1 - _OVERLAY_OPACITY, colors, _OVERLAY_OPACITY, 0)
    done, png = cv2.imencode(
        ".png",
        cv2.cvtColor(blend, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE],
    )
    assert done, "OpenCV encodes any 8-bit image"
    return bytes(png)
