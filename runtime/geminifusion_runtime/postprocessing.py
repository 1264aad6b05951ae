"""From the outputs of a graph to the prediction of each request.

Axes: H W the size of the images as they came, h w a quarter of the size the graph ran at, rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.preprocessing import PreparedItem


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Prediction for one item."""

    labels: NDArray[np.uint8]  # H W
    confidence: NDArray[np.float32]  # h w, probability of the winning class, 0…1
    gate: NDArray[np.float32]  # h w, how much rgb attends to the other modality, 0…1
    # N-1 h w, the share 0…1 of each modality beside rgb in their merge; only of a model of more than two
    modality_weights: NDArray[np.float32] | None = None


def predictions(outputs: GraphOutputs, items: Sequence[PreparedItem]) -> list[Prediction]:
    """Split the outputs of a batch among its items, in order, with labels enlarged to the images' own size.

    Raises:
        RuntimeError: the outputs are not those of such a batch.
    """
    expected = (len(items), *items[0].shape)
    labels = np.asarray(outputs["labels"], np.uint8)
    confidence, gate = np.asarray(outputs["confidence"], np.float32), np.asarray(outputs["gate"], np.float32)
    weights = np.asarray(outputs["modality_weights"], np.float32) if "modality_weights" in outputs else None
    if labels.shape != expected:
        raise RuntimeError(f"the graph answered labels of shape {labels.shape}, not {expected}")
    return [
        Prediction(
            labels=_enlarge(labels[index], item.image_size),
            confidence=confidence[index],
            gate=gate[index],
            modality_weights=None if weights is None else weights[index],
        )
        for index, item in enumerate(items)
    ]


def disagreement(with_all: Prediction, without: Prediction) -> NDArray[np.float16]:
    """How much the prediction changes without some of the modalities: `h w`, 0 for not at all, 1 for wholly.

    A pixel whose class changes counts with the mean confidence of the two predictions, because a change between two
    guesses says little; a pixel whose class stays counts with the change of confidence. A cell of the map is the mean
    of its pixels.
    """
    height, width = with_all.confidence.shape
    changed = (with_all.labels != without.labels).astype(np.float32)
    share = cv2.resize(changed, (width, height), interpolation=cv2.INTER_AREA)
    before, after = with_all.confidence, without.confidence
    return np.asarray(share * (before + after) / 2 + (1 - share) * np.abs(before - after), dtype=np.float16)


def _enlarge(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if labels.shape == size:
        return labels
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8, copy=False)
