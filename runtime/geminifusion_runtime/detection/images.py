"""How the image of a frame is brought to the size a detector sees, in training, evaluation and service alike."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.settings import MULTIPLE as MULTIPLE


def fitted_size(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """The largest height and width of the same proportions, to a pixel, that fit into `frame`."""
    factor = min(frame[0] / size[0], frame[1] / size[1])
    height, width = (max(1, min(int(side * factor + 0.5), most)) for side, most in zip(size, frame, strict=True))
    return height, width


def fitted(image: NDArray[np.uint8], frame: tuple[int, int]) -> NDArray[np.uint8]:
    """An image `H W 3` at its `fitted_size`, averaged where it is reduced; what is left of the frame is not filled.

    `Calibration.resized` with both sizes is the calibration of the result.
    """
    height, width = fitted_size(image.shape[:2], frame)
    if (height, width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
