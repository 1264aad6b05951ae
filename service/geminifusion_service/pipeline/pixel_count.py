"""How many pixels a request will have once it is decoded, read off the headers of its images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.decoding.image_headers import declared_pixels


def count_pixels(images: Mapping[str, bytes | NDArray[np.generic]], *, max_pixels: int | None) -> int:
    """Pixels of all images together.

    Args:
        max_pixels: images with more do not count, nor do damaged ones: the decoder rejects both by their headers.
    """
    counts = (_pixels_of(image) for image in images.values())
    return sum(count for count in counts if max_pixels is None or count <= max_pixels)


def _pixels_of(image: bytes | NDArray[np.generic]) -> int:
    if isinstance(image, np.ndarray):
        return int(image.shape[0] * image.shape[1]) if image.ndim > 1 else 0
    return declared_pixels(image)
