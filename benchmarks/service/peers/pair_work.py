"""What every peer is given to serve: our codecs and the stand-in, as three plain functions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1]))

from stand_in import StandIn

from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.encoding.masks import index_png

_MAX_PIXELS = 32_000_000
Frame = tuple[NDArray[np.uint8], NDArray[np.float32]]  # H W 3 and H W, metres

cv2.setNumThreads(1)
_accelerator = StandIn()


def decode(rgb: bytes, depth: bytes) -> Frame:
    """Two files to arrays."""
    return decode_rgb(rgb, max_pixels=_MAX_PIXELS), decode_depth(depth, max_pixels=_MAX_PIXELS).metres


def run(frames: Sequence[Frame]) -> list[NDArray[np.uint8]]:
    """A batch of frames of one size to their labels."""
    colors, depths = zip(*frames, strict=True)
    return list(_accelerator.run({"rgb": np.stack(colors), "depth": np.stack(depths)})["labels"])


def encode(labels: NDArray[np.uint8]) -> bytes:
    """Labels to a PNG."""
    return index_png(labels)
