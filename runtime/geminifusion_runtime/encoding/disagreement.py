"""Where an answer depends on the modalities beside rgb."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.model import Prediction


def disagreement(with_all: Prediction, without: Prediction) -> NDArray[np.float16]:
    """How much the answer changes when the other modalities are taken away: `h w`, 0 for not at all, 1 for wholly.

    A pixel whose class changes counts with the mean confidence of the two answers, because a change between two guesses
    says little; one whose class stays counts with the change of confidence. A cell of the map is the mean of its
    pixels.
    """
    height, width = with_all.confidence.shape
    changed = (with_all.labels != without.labels).astype(np.float32)
    share = cv2.resize(changed, (width, height), interpolation=cv2.INTER_AREA)
    before, after = with_all.confidence, without.confidence
    return np.asarray(share * (before + after) / 2 + (1 - share) * np.abs(before - after), dtype=np.float16)
