"""Pixels by class of every frame, from the label files alone where a data set has files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.sample import Dataset, DatasetError, labels_of


def label_counts(frames: Dataset, on_frame: Callable[[], None] | None = None) -> NDArray[np.int64]:
    """Pixels by label value, `frames 256`.

    Raises:
        DatasetError: a frame cannot be read, or has labels beyond the classes.
    """
    task = frames.task
    beyond = np.ones(256, bool)
    beyond[: len(task.class_names)] = False
    beyond[task.ignore_index] = False

    def count(index: int) -> NDArray[np.int64]:
        counts = np.bincount(labels_of(frames, index).ravel(), minlength=256)
        if counts[beyond].any():
            found = ", ".join(f"{value} on {counts[value]} pixels" for value in np.flatnonzero(counts * beyond))
            raise DatasetError(
                f"frame {frames[index].name}: labels hold {found}; expected 0 to {len(task.class_names) - 1}, or "
                f"{task.ignore_index} for void"
            )
        if on_frame is not None:
            on_frame()
        return counts

    with ThreadPoolExecutor(thread_name_prefix="labels") as pool:
        return np.stack(list(pool.map(count, range(len(frames)))))
