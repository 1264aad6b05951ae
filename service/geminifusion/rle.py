"""COCO run-length masks to a label map.

A class's mask is read down its columns as alternating runs of other and own pixels. The run lengths become
text: each number, from the fourth on as its difference to the number two before it, is cut into groups of
five bits, lowest first; a group is the character `48 + bits`, with 32 added while more groups follow and bit
16 of the last as the sign.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_MORE = 32
_SIGN = 16
_MAX_GROUPS = 7  # 35 bits: more than any picture has pixels


def decode_counts(counts: str) -> NDArray[np.int64]:
    """The run lengths behind a compressed COCO string, in pixels, the first one being of other pixels.

    Raises:
        ValueError: the text is no COCO run-length string.
    """
    try:
        groups = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        raise ValueError("a run-length string holds characters outside ASCII") from None
    if groups.size == 0:
        return np.zeros(0, np.int64)
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & _MORE:
        raise ValueError("a run-length string is damaged: a character is out of range, or its end is missing")

    last_of_number = (groups & _MORE) == 0
    starts = np.concatenate(([0], np.flatnonzero(last_of_number)[:-1] + 1))
    sizes = np.diff(np.append(starts, groups.size))
    if sizes.max() > _MAX_GROUPS:
        raise ValueError("a run-length string is damaged: a number in it is too long")
    place = np.arange(groups.size) - np.repeat(starts, sizes)
    runs = np.add.reduceat((groups & 31) << (5 * place), starts)
    negative = (groups[last_of_number] & _SIGN) != 0
    runs -= negative.astype(np.int64) << (5 * sizes)

    # The first three numbers stand alone; each later one adds to the number two before it.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("a run-length string is damaged: a run is negative")
    return runs


def labels_from_runs(counts: Mapping[int, str], height: int, width: int) -> NDArray[np.uint8]:
    """The label map whose classes' masks are given.

    Args:
        counts: class index (0…255) to its compressed COCO string; the masks tile the picture without overlap.
        height, width: size of the picture in pixels.

    Returns:
        `height width` uint8.

    Raises:
        ValueError: a string is damaged, or the masks do not tile the picture exactly.
    """
    starts, lengths, classes = [], [], []
    for class_id, text in counts.items():
        runs = decode_counts(text)
        ends = np.cumsum(runs)
        starts.append(ends[1::2] - runs[1::2])
        lengths.append(runs[1::2])
        classes.append(np.full(runs[1::2].size, class_id, np.uint8))
    start = np.concatenate(starts) if starts else np.zeros(0, np.int64)
    length = np.concatenate(lengths) if lengths else np.zeros(0, np.int64)
    label = np.concatenate(classes) if classes else np.zeros(0, np.uint8)

    order = np.argsort(start, kind="stable")
    start, length, label = start[order], length[order], label[order]
    ends = np.cumsum(length)
    if not np.array_equal(start, ends - length) or (ends[-1] if ends.size else 0) != height * width:
        raise ValueError(f"the masks of the classes do not tile a picture of {width}x{height} pixels")
    return np.ascontiguousarray(np.repeat(label, length).reshape(width, height).T)
