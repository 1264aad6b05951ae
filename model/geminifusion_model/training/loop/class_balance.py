"""Class weights from pixel counts of the training frames, so that rare classes count."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.data.sample import Dataset, labels_of


def class_weights(frames: Dataset, power: float) -> Tensor | None:
    """Median-frequency weights (Eigen & Fergus, arXiv:1411.4734), raised to a power.

    A class's frequency is its share of the pixels of the frames that show it; its weight is the median frequency
    divided by it. A power below 1 tempers them: full weights let classes of a few pixels take over small networks.

    Args:
        power: 1 for the full weights, 0 for none.

    Returns:
        `K` float32; classes without a pixel get 1. None if `power` is 0.
    """
    if power == 0:
        return None
    num_classes = len(frames.task.class_names)

    def count(index: int) -> NDArray[np.int64]:
        return np.bincount(labels_of(frames, index).ravel(), minlength=256)[:num_classes]

    with ThreadPoolExecutor() as pool:
        counts = np.stack(list(pool.map(count, range(len(frames)))))
    totals = counts.sum(axis=1, keepdims=True)
    pixels, shown_in = counts.sum(axis=0), np.where(counts > 0, totals, 0).sum(axis=0)
    seen = pixels > 0
    weights = np.ones(num_classes)
    frequency = pixels[seen] / shown_in[seen]
    if seen.any():
        weights[seen] = (np.median(frequency) / frequency) ** power
    return torch.from_numpy(weights).float()
