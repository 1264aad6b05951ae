"""Images of a network's predictions for a few frames, for the log of its training."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.evaluation.frame_images import UNKNOWN_COLOR, label_colors
from geminifusion_model.evaluation.prediction import ScoredFrame
from geminifusion_model.task import Task

_WIDTH = 240  # pixels of one image


class Previews:
    """The first frames of an evaluation, one row each: the RGB, the other modalities, the truth, the prediction.

    Args:
        task: of the network.
        count: number of frames.
    """

    def __init__(self, task: Task, count: int = 3) -> None:
        self._task, self._count = task, count
        self._rows: list[NDArray[np.uint8]] = []
        self._colors = label_colors(task)

    def add(self, frame: ScoredFrame) -> None:
        """Take one frame into account."""
        if len(self._rows) == self._count:
            return
        images = [frame.sample.rgb]
        images += [_shades(frame.sample.others[modality.name]) for modality in self._task.modalities[1:]]
        images += [self._colors[frame.truth], self._colors[frame.labels]]
        height = max(round(frame.sample.rgb.shape[0] * _WIDTH / frame.sample.rgb.shape[1]), 1)
        cells = [cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_NEAREST) for image in images]
        self._rows.append(np.hstack(cells).astype(np.uint8, copy=False))

    def image(self) -> NDArray[np.uint8]:
        """All rows, `H W 3` uint8 RGB.

        Raises:
            ValueError: there was no frame.
        """
        if not self._rows:
            raise ValueError("no frame was added; expected at least one")
        return np.vstack(self._rows)


def _shades(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A sensor's values, `H W` or `H W 3`, stretched from the 1st to the 99th percentile; 0 and NaN are unknown."""
    known = np.isfinite(values) & (values != 0)
    low, high = (float(v) for v in np.percentile(values[known], (1, 99))) if known.any() else (0.0, 1.0)
    share = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-6), 0.0, 1.0)
    gray = (255 * share).astype(np.uint8)
    if gray.ndim == 3:
        return gray
    shown = np.repeat(gray[..., None], 3, axis=2)
    shown[~known] = UNKNOWN_COLOR
    return shown
